"""Files, read and written with a real agent as its desktop's user."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oriel.model import wire
from oriel.model.errors import (
    ForbiddenError,
    InvalidError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    StateError,
    WireError,
)
from tests.integration.agents import UID, Guest, running_agent


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with running_agent() as made:
        yield made


async def upload(
    guest: Guest, path: str, data: bytes, *, announce: int | None = None, **args: Any
) -> dict[str, Any]:
    size = len(data) if announce is None else announce
    stream = await guest.stream("file_write", path=path, size=size, **args)
    stream.writer.write(data)
    stream.writer.write_eof()
    answer = await wire.read_line(stream.reader)
    await wire.close(stream.writer)
    assert answer is not None
    if not answer["ok"]:
        raise OrielError.from_wire(answer["error"])
    return answer


def write(guest: Guest, path: str, data: bytes, **args: Any) -> dict[str, Any]:
    return asyncio.run(upload(guest, path, data, **args))


def read(guest: Guest, path: str) -> tuple[dict[str, Any], bytes]:
    async def scenario() -> tuple[dict[str, Any], bytes]:
        stream = await guest.stream("file_read", path=path)
        data = await stream.reader.read(-1)
        await wire.close(stream.writer)
        return stream.result, data

    return asyncio.run(scenario())


def names(guest: Guest, path: str = ".") -> list[str]:
    return [entry["name"] for entry in guest.call("file_list", path=path)["entries"]]


def leftovers(guest: Guest) -> list[Path]:
    return list(guest.home.rglob("*.part"))


def test_what_was_written_is_read_back_and_belongs_to_the_user(guest: Guest) -> None:
    data = os.urandom(5_000_003)
    write(guest, "data.bin", data)
    shape, back = read(guest, str(guest.home / "data.bin"))
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    assert (shape["size"], shape["mode"]) == (len(data), 0o644)
    status = (guest.home / "data.bin").stat()
    assert (status.st_uid, status.st_gid) == (UID, UID)
    assert abs(shape["mtime"] - status.st_mtime) < 1


def test_an_empty_file_and_odd_names(guest: Guest) -> None:
    for name in ("empty", "with space", "ünïcødé 日本", "-rf", "new\nline"):
        write(guest, name, b"")
        assert read(guest, name) == (read(guest, name)[0], b"")
        assert name in names(guest)


def test_an_old_file_is_replaced_whole_and_keeps_its_mode(guest: Guest) -> None:
    write(guest, "script", b"#!/bin/sh\necho one\n", mode=0o755)
    inode = (guest.home / "script").stat().st_ino
    write(guest, "script", b"#!/bin/sh\necho two\n")
    status = (guest.home / "script").stat()
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert status.st_ino != inode
    assert guest.exec("./script").stdout == b"two\n"


def test_an_upload_that_breaks_off_leaves_the_old_file_and_nothing_else(guest: Guest) -> None:
    write(guest, "kept", b"old")
    with pytest.raises(WireError, match="early"):
        write(guest, "kept", b"half of it", announce=1_000_000)
    assert read(guest, "kept")[1] == b"old"

    async def vanish() -> None:
        stream = await guest.stream("file_write", path="kept", size=50_000_000)
        stream.writer.write(bytes(3_000_000))
        await stream.writer.drain()
        stream.writer.transport.abort()

    asyncio.run(vanish())
    asyncio.run(no_leftovers(guest))
    assert read(guest, "kept")[1] == b"old"


async def no_leftovers(guest: Guest) -> None:
    """A temporary file goes soon after its caller."""
    async with asyncio.timeout(10):
        while leftovers(guest):
            await asyncio.sleep(0.02)


def test_the_user_s_rights_are_the_limit(guest: Guest) -> None:
    """Not by path, not by link, not by a directory of root's."""
    with pytest.raises(ForbiddenError, match="may not touch /etc/shadow"):
        read(guest, "/etc/shadow")
    with pytest.raises(ForbiddenError):
        write(guest, "/etc/oriel-test", b"x")
    assert not Path("/etc/oriel-test").exists()
    secret = guest.root / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    (guest.home / "sly").symlink_to(secret)
    with pytest.raises(ForbiddenError):
        read(guest, "sly")
    with pytest.raises(ForbiddenError):
        write(guest, "sly", b"overwritten")
    assert secret.read_text() == "root's"
    with pytest.raises(ForbiddenError):
        guest.call("file_delete", path=str(secret))
    with pytest.raises(ForbiddenError):
        guest.call("file_list", path="/root")


def test_a_link_is_followed_where_the_user_may_go(guest: Guest) -> None:
    write(guest, "real", b"1")
    (guest.home / "alias").symlink_to("real")
    write(guest, "alias", b"2")
    assert (guest.home / "alias").is_symlink()
    assert read(guest, "real")[1] == b"2"


def test_what_is_no_file_is_refused_at_once(guest: Guest) -> None:
    os.mkfifo(guest.home / "pipe")
    os.chown(guest.home / "pipe", UID, UID)
    for path in ("pipe", ".", "/dev/zero"):
        with pytest.raises(InvalidError, match=r"not a regular file|a directory"):
            read(guest, path)
    with pytest.raises(InvalidError, match="a directory"):
        write(guest, ".", b"x")
    with pytest.raises(NotFoundError, match=r"there is no .*/nowhere/file"):
        write(guest, "nowhere/file", b"x")
    with pytest.raises(NotFoundError):
        read(guest, "absent")
    with pytest.raises(InvalidError):
        read(guest, "real/below")


def test_a_file_larger_than_the_disk_is_refused_before_it_is_sent(guest: Guest) -> None:
    with pytest.raises(NoSpaceError, match="no space for"):
        write(guest, "huge", b"", announce=1 << 50)
    assert not leftovers(guest)


def test_a_disk_that_fills_up_is_told_after_the_last_byte_and_leaves_nothing(guest: Guest) -> None:
    """A small file system of its own; two uploads that each would fit begin at the same time."""
    mount = guest.home / "small"
    mount.mkdir()
    inside = ["nsenter", f"--mount=/proc/{guest.process.pid}/ns/mnt", "--"]
    options = f"size=8m,mode=755,uid={UID},gid={UID}"
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", options, "none", mount], check=True)

    async def both() -> list[Any]:
        uploads = (upload(guest, f"small/{name}", bytes(6 << 20)) for name in "ab")
        return await asyncio.gather(*uploads, return_exceptions=True)

    results = asyncio.run(both())
    assert any(isinstance(result, NoSpaceError) for result in results), results
    assert not any(name.endswith(".part") for name in names(guest, "small"))


def test_a_listing_tells_types_and_sizes(guest: Guest) -> None:
    guest.exec(
        "sh", "-c", "mkdir -p list/dir && cd list && printf 12345 > file && ln -s file link && mkfifo pipe"
    )
    entries = {entry["name"]: entry for entry in guest.call("file_list", path="list")["entries"]}
    assert {name: entry["type"] for name, entry in entries.items()} == {
        "dir": "directory", "file": "file", "link": "link", "pipe": "other",
    }  # fmt: skip
    assert entries["file"]["size"] == 5
    assert entries["file"]["mode"] == 0o644


def test_a_long_listing_comes_in_parts_that_fit(guest: Guest) -> None:
    guest.exec(
        "sh", "-c", "mkdir many && cd many && seq -f 'a-rather-long-name-of-a-file-%05g' 1 6000 | xargs touch"
    )
    seen: list[str] = []
    parts = 0
    more = True
    while more:
        answer = guest.call("file_list", path="many", after=seen[-1] if seen else "")
        seen += [entry["name"] for entry in answer["entries"]]
        more = answer["more"]
        parts += 1
    assert seen == [f"a-rather-long-name-of-a-file-{number:05}" for number in range(1, 6001)]
    assert parts > 1


def test_deleting_asks_for_recursive_and_does_not_follow_links(guest: Guest) -> None:
    guest.exec(
        "sh",
        "-c",
        "mkdir -p tree/deep target && touch tree/deep/file target/kept && ln -s ../target tree/link",
    )
    with pytest.raises(StateError, match="not empty"):
        guest.call("file_delete", path="tree")
    guest.call("file_delete", path="tree", recursive=True)
    assert "tree" not in names(guest)
    assert names(guest, "target") == ["kept"]
    (guest.home / "target-link").symlink_to("target")
    guest.call("file_delete", path="target-link")
    assert names(guest, "target") == ["kept"]
    with pytest.raises(NotFoundError):
        guest.call("file_delete", path="tree")


def test_all_faults_are_told_together(guest: Guest) -> None:
    with pytest.raises(InvalidError) as caught:
        write(guest, "", b"", announce=-1, mode=0o10000, extra=True)
    assert {fault.field for fault in caught.value.faults} == {"path", "size", "mode", "extra"}
