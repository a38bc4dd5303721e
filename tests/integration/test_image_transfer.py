"""An image leaves one home as a file and stands in another: the real tools, on an image of a few files."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import struct
import time
from pathlib import Path

import pytest

from oriel.host.layout import Home
from oriel.image.build import ImageInfo
from oriel.image.listing import content_hash, list_tree, sizes_by_part
from oriel.image.packing import pack
from oriel.image.records import FORMAT, measured, write_records
from oriel.image.transfer import Exported, export_image, import_image
from oriel.model.errors import HostError, InvalidError, NotFoundError, StateError

pytestmark = pytest.mark.usefixtures("need_root")
ID = "small@0123456789ab"
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep: <linux/capability.h>


def kernel() -> bytes:
    packed = gzip.compress(b"\x7fELF" + bytes(4096), mtime=0)
    image = bytearray(2048)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 0, len(packed) + 4)
    image[1024:] = packed + struct.pack("<I", 4100)
    return bytes(image)


def make_image(home: Home, layout: str, work: Path) -> Path:
    """A complete image, but for its size."""
    root, image, scratch = work / "root", home.image(ID), work / "scratch"
    for directory in (root / "usr/bin", root / "home/user", image, scratch):
        directory.mkdir(parents=True)
    (root / "usr/bin/ping").write_bytes(os.urandom(200_000))
    os.setxattr(root / "usr/bin/ping", "security.capability", CAPABILITY)
    (root / "usr/bin/sudo").write_text("sudo")
    (root / "usr/bin/sudo").chmod(0o4755)
    (root / "usr/bin/pong").symlink_to("ping")
    os.chown(root / "home/user", 1000, 1000)
    beside = {"vmlinuz": kernel(), "initrd": b"initrd"}
    for name, content in beside.items():
        (image / name).write_bytes(content)
    asyncio.run(pack(root, image, scratch, layout=layout, seed="0123456789ab"))
    items = list_tree(root)
    manifest = {
        "format": FORMAT, "id": ID, "name": "small", "version": "0123456789ab", "layout": layout,
        "created_at": "2026-01-01T00:00:00Z", "content": content_hash(items, beside),
        "content_bytes": sum(sizes_by_part(items).values()), "packages": {}, "npm": {},
        "plan": {"recipe": {"distribution": "debian", "suite": "trixie"}},
    }  # fmt: skip
    write_records(image, manifest | measured(image))
    return image


def test_the_same_tree_is_packed_into_the_same_bytes_whenever_it_is(tmp_path: Path) -> None:
    (tmp_path / "root/usr").mkdir(parents=True)
    packed: list[bytes] = []
    for turn in ("one", "other"):
        image, scratch, second = tmp_path / turn, tmp_path / f"{turn}-scratch", int(time.time())
        for directory in (image, scratch):
            directory.mkdir()
        while packed and int(time.time()) == second:
            time.sleep(0.02)
        asyncio.run(pack(tmp_path / "root", image, scratch, layout="overlay", seed="0123456789ab"))
        packed.append(b"".join((image / name).read_bytes() for name in ("root.erofs", "disk.img")))
    assert packed[0] == packed[1]


def exported(home: Home, target: Path) -> Exported:
    return asyncio.run(export_image(home, ID, target, lambda _: None))


def imported(home: Home, parcel: Path, sha256: str = "") -> ImageInfo:
    home.images.mkdir(parents=True, exist_ok=True)
    return asyncio.run(import_image(home, parcel, lambda _: None, sha256=sha256))


def left(home: Home) -> list[str]:
    return sorted(path.name for path in home.images.iterdir())


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Home, Home]:
    return Home(tmp_path / "one"), Home(tmp_path / "other")


@pytest.mark.parametrize("layout", ["overlay", "copy"])
def test_what_arrives_is_what_left(homes: tuple[Home, Home], tmp_path: Path, layout: str) -> None:
    one, other = homes
    image = make_image(one, layout, tmp_path / "work")
    parcel = tmp_path / "small.oriel"
    done = exported(one, parcel)
    info = imported(other, parcel, done["sha256"])
    assert (info.id, info.built) == (ID, True)
    assert info.manifest["content"] == done["content"]
    assert left(other) == [ID]
    assert left(one) == [ID]
    for name in ("root.erofs", "vmlinuz", "initrd"):
        assert (info.directory / name).read_bytes() == (image / name).read_bytes()
    assert (info.directory / "vmlinux").read_bytes().startswith(b"\x7fELF")
    again = exported(other, tmp_path / "again.oriel")
    assert again["content"] == done["content"]
    assert imported(other, parcel).built is False


def test_a_damaged_file_is_refused(homes: tuple[Home, Home], tmp_path: Path) -> None:
    one, other = homes
    make_image(one, "overlay", tmp_path / "work")
    parcel = tmp_path / "small.oriel"
    done = exported(one, parcel)
    whole = parcel.read_bytes()
    damaged = {
        "short": whole[:-1000],
        "bit": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidError, match="is damaged"):
            imported(other, tmp_path / name)
        with pytest.raises(InvalidError, match="has the SHA-256"):
            imported(other, tmp_path / name, done["sha256"])
        assert left(other) == []


def test_a_changed_file_is_refused_though_it_is_packed_well(homes: tuple[Home, Home], tmp_path: Path) -> None:
    one, other = homes
    image = make_image(one, "overlay", tmp_path / "work")
    manifest = json.loads((image / "manifest.json").read_text())
    write_records(image, manifest | {"content": "0" * 64})
    exported(one, tmp_path / "small.oriel")
    with pytest.raises(InvalidError, match="content hash"):
        imported(other, tmp_path / "small.oriel")
    assert left(other) == []


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello")], ids=["empty", "text", "gzip"])
def test_a_foreign_file_is_refused(homes: tuple[Home, Home], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(InvalidError, match="no image exported by Oriel"):
        imported(homes[1], tmp_path / "foreign")
    assert left(homes[1]) == []


def test_another_image_of_that_name_stays(homes: tuple[Home, Home], tmp_path: Path) -> None:
    one, other = homes
    make_image(one, "overlay", tmp_path / "work")
    exported(one, tmp_path / "small.oriel")
    make_image(other, "overlay", tmp_path / "other work")  # its ping is other random bytes
    with pytest.raises(StateError, match="already here"):
        imported(other, tmp_path / "small.oriel")


def test_what_is_missing_is_said(homes: tuple[Home, Home], tmp_path: Path) -> None:
    one, other = homes
    with pytest.raises(NotFoundError, match="no image"):
        exported(one, tmp_path / "x")
    with pytest.raises(NotFoundError, match="no file"):
        imported(other, tmp_path / "nowhere")
    make_image(one, "overlay", tmp_path / "work")
    (tmp_path / "x").write_text("mine")
    with pytest.raises(StateError, match="already there"):
        exported(one, tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


def test_who_is_not_root_is_told_where_to_do_it(
    homes: tuple[Home, Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for refused in (lambda: exported(homes[0], tmp_path / "x"), lambda: imported(homes[1], tmp_path / "x")):
        with pytest.raises(HostError, match="needs root, on the host that has it") as caught:
            refused()
        assert "run it there with sudo" in caught.value.hint
    assert not (tmp_path / "x").exists()
