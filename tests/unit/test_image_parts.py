"""The parts of a build that need no root: archives, laid files, kernels, and what a failed layer says."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from oriel.image.content import lay
from oriel.image.initrd import archive, initrd_entries
from oriel.image.kernel import elf_of, payload_of
from oriel.image.layers import discard, pieces_hook
from oriel.image.progress import follow
from oriel.model.errors import HostError, LaunchError, NoSpaceError, OrielError, UnavailableError


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_an_initrd_is_what_cpio_reads(tmp_path: Path) -> None:
    entries = initrd_entries(b"#!/bin/sh\n", b"busybox!", [("erofs.ko", b"ELF"), ("overlay.ko", b"E")])
    (tmp_path / "initrd").write_bytes(archive(entries))
    with (tmp_path / "initrd").open("rb") as initrd:
        subprocess.run(["cpio", "-i", "--quiet"], stdin=initrd, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "init", os.X_OK)
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert (tmp_path / "modules/order").read_text() == "erofs.ko\noverlay.ko\n"
    assert archive(entries) == (tmp_path / "initrd").read_bytes()


def test_laid_files_do_not_depend_on_our_umask(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    (source / "etc/sudoers.d").mkdir(parents=True)
    (source / "etc/sudoers.d/user").write_text("secret")
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o700)
    (source / "plain").write_text("new")
    (source / "plain").chmod(0o600)
    (source / "link").symlink_to("plain")
    target.mkdir()
    (target / "plain").symlink_to("/nonexistent")
    lay(source, target)
    modes = {path.name: path.stat().st_mode & 0o777 for path in target.rglob("*") if path.is_file()}
    assert modes == {"user": 0o440, "run.sh": 0o755, "plain": 0o644, "link": 0o644}
    assert (target / "plain").read_text() == "new"


def test_the_kernel_is_taken_out_of_its_image() -> None:
    elf = b"\x7fELF" + bytes(range(256)) * 64
    packed = subprocess.run(["gzip", "-c"], input=elf, capture_output=True, check=True).stdout
    image = bytearray(2048)
    image[0x1F1] = 1  # set-up sectors, so that the protected mode part begins at 1024
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(packed) + 4)
    image[1024 + 16 :] = packed + struct.pack("<I", len(elf))
    assert payload_of(bytes(image)) == packed
    assert asyncio.run(elf_of(bytes(image))) == elf
    with pytest.raises(HostError, match="no bzImage"):
        payload_of(b"\0" * 4096)


def failing(tmp_path: Path, script: str, deadline_s: float = 20) -> tuple[OrielError, list[str]]:
    lines: list[str] = []
    with pytest.raises(OrielError) as caught:
        asyncio.run(
            follow(
                ["sh", "-c", script],
                phase="base",
                log=tmp_path / "log",
                on_line=lines.append,
                env={},
                deadline_s=deadline_s,
                where="the package mirror",
            )
        )
    return caught.value, lines


@pytest.mark.parametrize(
    ("said", "kind", "part"),
    [
        ("E: Could not connect to 192.0.2.1", UnavailableError, "the package mirror cannot"),
        ("npm error code ENOTFOUND", UnavailableError, "cannot be reached"),
        ("tar: write error: No space left on device", NoSpaceError, "did not fit"),
        ("E: Unable to locate package nosuch", LaunchError, "Unable to locate package nosuch"),
    ],
)  # fmt: skip
def test_a_failed_layer_says_why(tmp_path: Path, said: str, kind: type[OrielError], part: str) -> None:
    error, lines = failing(tmp_path, f"echo before; echo '{said}' >&2; exit 3")
    assert type(error) is kind
    assert part in error.message
    assert lines == ["before", said]


def test_a_layer_that_hangs_is_ended(tmp_path: Path) -> None:
    error, _ = failing(tmp_path, "echo $$; exec sleep 600", deadline_s=2)
    assert "not done within 2 s" in error.message
    pid = int((tmp_path / "log").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_discard_may_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "layer/root").mkdir(parents=True)
    asyncio.run(discard(tmp_path / "layer"))
    asyncio.run(discard(tmp_path / "layer"))
    assert list(tmp_path.iterdir()) == []


def test_of_a_package_in_pieces_only_the_named_files_are_taken() -> None:
    text = pieces_hook("gstreamer1.0-plugins-bad", "libgstwebrtc.so modules/module-x.so")
    assert 'apt-get download -q gstreamer1.0-plugins-bad"' in text
    assert '--wildcards -C "$1" "*/libgstwebrtc.so" "*/modules/module-x.so"' in text
    assert "'" not in text  # the hook stands between these
