"""Uploads that break off and go on, and files that were finished in Downloads, with a real agent."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oriel.model import wire
from oriel.model.errors import BusyError, InvalidError, NoSpaceError, OrielError, StateError
from tests.integration.agents import UID, Guest, running_agent

DEADLINE_S = 120


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with running_agent() as made:
        yield made


@pytest.fixture
def upload() -> str:
    return secrets.token_hex(16)


async def begin(guest: Guest, path: str, upload: str, offset: int, size: int, total: int) -> wire.Stream:
    given = {"path": path, "upload": upload, "offset": offset, "size": size, "total": total}
    return await guest.stream("file_append", **given)


async def send(
    guest: Guest, path: str, upload: str, data: bytes, *, offset: int, total: int
) -> dict[str, Any]:
    stream = await begin(guest, path, upload, offset, len(data), total)
    stream.writer.write(data)
    answer = await wire.read_line(stream.reader)
    await wire.close(stream.writer)
    assert answer is not None
    return wire.result_of("file_append", answer)


def put(guest: Guest, path: str, upload: str, data: bytes, *, offset: int, total: int) -> dict[str, Any]:
    return asyncio.run(send(guest, path, upload, data, offset=offset, total=total))


def come(guest: Guest, path: str, upload: str) -> int:
    return int(guest.call("file_offset", path=path, upload=upload)["offset"])


def test_pieces_become_a_file_only_with_the_last(guest: Guest, upload: str) -> None:
    data = os.urandom(2_500_003)
    target = guest.home / "whole.bin"
    target.write_bytes(b"old")
    for start in (0, 1_000_000, 2_000_000):
        piece = data[start : start + 1_000_000]
        done = put(guest, "whole.bin", upload, piece, offset=start, total=len(data))
        assert done == {"offset": start + len(piece), "complete": start == 2_000_000}
        if start < 2_000_000:
            assert target.read_bytes() == b"old"
    assert target.read_bytes() == data
    assert target.stat().st_uid == UID
    assert come(guest, "whole.bin", upload) == 0
    assert not list(guest.home.glob(".*.part"))


def test_what_came_before_the_connection_broke_is_kept_and_gone_on_with(guest: Guest, upload: str) -> None:
    data = os.urandom(3_000_000)

    async def break_off() -> None:
        stream = await begin(guest, "broken.bin", upload, 0, len(data), len(data))
        stream.writer.write(data[:1_700_000])
        await stream.writer.drain()
        stream.writer.close()
        await stream.writer.wait_closed()

    asyncio.run(break_off())
    deadline = time.monotonic() + DEADLINE_S
    while (there := come(guest, "broken.bin", upload)) < 1_700_000:
        assert time.monotonic() < deadline, f"only {there} bytes were kept"
        time.sleep(0.02)
    with pytest.raises(StateError, match="1700000 bytes of it have come, not 0"):
        put(guest, "broken.bin", upload, data, offset=0, total=len(data))
    put(guest, "broken.bin", upload, data[there:], offset=there, total=len(data))
    assert (guest.home / "broken.bin").read_bytes() == data


def test_two_connections_never_mingle_in_one_upload(guest: Guest, upload: str) -> None:
    async def scenario() -> None:
        first = await begin(guest, "one.bin", upload, 0, 10, 10)
        with pytest.raises(BusyError):
            await send(guest, "one.bin", upload, b"x" * 10, offset=0, total=10)
        first.writer.write(b"first has")
        first.writer.write(b"!")
        assert await wire.read_line(first.reader) == {"ok": True, "result": {"offset": 10, "complete": True}}
        await wire.close(first.writer)

    asyncio.run(scenario())
    assert (guest.home / "one.bin").read_bytes() == b"first has!"


def test_given_up_nothing_is_left_and_old_ones_are_swept(guest: Guest, upload: str) -> None:
    put(guest, "given-up.bin", upload, b"half", offset=0, total=8)
    old = guest.home / f".forgotten.bin.{secrets.token_hex(16)}.part"
    other = guest.home / ".mine.part"
    for path in (old, other):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
        os.chown(path, UID, UID)
    for _ in range(2):
        guest.call("file_abandon", path="given-up.bin", upload=upload)
    assert come(guest, "given-up.bin", upload) == 0
    put(guest, "new.bin", secrets.token_hex(16), b"whole", offset=0, total=5)
    assert not old.exists()
    assert other.exists()
    other.unlink()
    assert not list(guest.home.glob(".*.part"))


def test_what_cannot_be_is_refused_before_a_byte(guest: Guest, upload: str) -> None:
    with pytest.raises(NoSpaceError):
        put(guest, "huge.bin", upload, b"x", offset=0, total=1 << 49)
    assert come(guest, "huge.bin", upload) == 1 or come(guest, "huge.bin", upload) == 0
    guest.call("file_abandon", path="huge.bin", upload=upload)
    with pytest.raises(InvalidError, match="upload"):
        put(guest, "a", "../../etc/passwd", b"x", offset=0, total=1)
    with pytest.raises(InvalidError, match="must end within"):
        put(guest, "a", upload, b"xx", offset=0, total=1)
    (guest.home / "directory").mkdir(exist_ok=True)
    with pytest.raises(OrielError):
        put(guest, "directory", upload, b"x", offset=0, total=1)
    guest.call("file_abandon", path="directory", upload=upload)


def test_a_name_as_long_as_names_can_be_has_room_for_ours(guest: Guest, upload: str) -> None:
    name = "長" * 84 + "é"
    put(guest, name, upload, b"whole", offset=0, total=5)
    assert (guest.home / name).read_bytes() == b"whole"


def test_finished_downloads_are_told_and_nothing_else(guest: Guest, upload: str) -> None:
    async def scenario() -> None:
        stream = await guest.stream("downloads_watch")
        folder = guest.home / "Downloads"

        async def told(name: str, size: int) -> None:
            async with asyncio.timeout(DEADLINE_S):
                assert await wire.read_line(stream.reader) == {"name": name, "size": size}

        # As Chromium does it, into a folder that it makes first.
        folder.mkdir()
        os.chown(folder, UID, UID)
        unfinished = folder / "Unconfirmed 4711.crdownload"
        (folder / "report.pdf").touch()
        unfinished.write_bytes(b"%PDF-1.7")
        unfinished.rename(folder / "report.pdf")
        await told("report.pdf", 8)
        # Ours, whole and by pieces, and hidden ones are not told.
        await write_whole(guest, "Downloads/ours.txt", b"ours")
        await send(guest, "Downloads/pieces.txt", upload, b"pieces", offset=0, total=6)
        (folder / ".hidden").write_bytes(b"x")
        (folder / "link").symlink_to("/etc/passwd")
        (folder / os.fsdecode(b"bad\xff<img src=x>\n")).write_bytes(b"hostile")
        await told("bad\ufffd<img src=x>\n", 7)
        # The folder may go and come back.
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "again.txt").write_bytes(b"again")
        await told("again.txt", 5)
        await wire.close(stream.writer)

    asyncio.run(scenario())


async def write_whole(guest: Guest, path: str, data: bytes) -> None:
    stream = await guest.stream("file_write", path=path, size=len(data))
    stream.writer.write(data)
    assert wire.result_of("file_write", await wire.read_line(stream.reader))["size"] == len(data)
    await wire.close(stream.writer)


def test_a_link_instead_of_the_folder_is_not_followed(guest: Guest, tmp_path: Path) -> None:
    """What is elsewhere is nobody's download: the watcher has root's rights."""

    async def scenario() -> None:
        folder = guest.home / "Downloads"
        shutil.rmtree(folder, ignore_errors=True)
        folder.symlink_to(tmp_path)
        stream = await guest.stream("downloads_watch")
        (tmp_path / "secret.txt").write_bytes(b"secret")
        folder.unlink()
        folder.mkdir()
        (folder / "own.txt").write_bytes(b"own")
        async with asyncio.timeout(DEADLINE_S):
            assert await wire.read_line(stream.reader) == {"name": "own.txt", "size": 3}
        await wire.close(stream.writer)

    asyncio.run(scenario())
