"""Uploads that go on where they broke off: pieces are added to a file beside the target, which is kept.

What has come is what that file holds, so it outlives the connection, the agent and the machine's sleep. The
last piece puts it in the target's place, as `file_write` does.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.arguments import Arguments
from agent.files import DEFAULT_MODE, LARGEST, Files, take_path, write_all
from agent.replacement import commit_file, stem_of
from oriel.model.errors import BusyError, OrielError, StateError
from oriel.model.wire import Call, read_chunks, write_line

__all__ = ["Pieces", "parse_begun", "parse_piece"]

UPLOAD = r"[0-9a-f]{16,64}"
KEPT_S = 24 * 3600.0
CHUNK = 1 << 20
_BEGUN = re.compile(rf"\..*\.{UPLOAD}\.part", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An upload: where it goes, and which of those that go there it is."""

    path: str
    upload: str

    def beside(self, target: Path) -> Path:
        return target.with_name(f".{stem_of(target.name)}.{self.upload}.part")


@dataclass(frozen=True, kw_only=True)
class Piece(Begun):
    """`size` bytes of it from `offset`; `total`: all of them."""

    offset: int
    size: int
    total: int
    mode: int


def parse_begun(values: Mapping[str, Any]) -> Begun:
    args = Arguments(values)
    begun = Begun(path=take_path(args), upload=args.text("upload", "16 to 64 of 0-9a-f", pattern=UPLOAD))
    args.done()
    return begun


def parse_piece(values: Mapping[str, Any]) -> Piece:
    args = Arguments(values)
    offset, size, total = (args.whole(name, 0, LARGEST) for name in ("offset", "size", "total"))
    piece = Piece(
        path=take_path(args), upload=args.text("upload", "16 to 64 of 0-9a-f", pattern=UPLOAD),
        offset=offset, size=size, total=total, mode=args.whole("mode", 0, 0o7777, default=DEFAULT_MODE),
    )  # fmt: skip
    if not args.faults and offset + size > total:
        args.fault("size", "must end within `total`")
    args.done()
    return piece


class Pieces:
    """The verbs of resumable uploads, with the rights that `files` has."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def append(self, call: Call, piece: Piece) -> None:
        """Take `size` bytes onto what has come. If the caller vanishes, what arrived stays.

        StateError `wrong_offset` if something else has come than it thinks, BusyError while another
        connection sends the same.
        """
        target, part = await self._places(piece)
        fd = await self._files.do(target, lambda: _open(part, piece))
        try:
            await call.answer({})
            failure = await self._receive(call, fd, piece, target)
            if failure is None and piece.offset + piece.size == piece.total:
                await self._files.do(target, lambda: _finish(fd, piece.mode, part, target))
        except OrielError as error:
            failure = error
        finally:
            # In the thread: after a write that was given up, but that may still go on there.
            await asyncio.shield(self._files.do(target, lambda: os.close(fd)))
        if failure is None:
            done = piece.offset + piece.size
            result = {"offset": done, "complete": done == piece.total}
            await write_line(call.writer, {"ok": True, "result": result})
        else:
            await write_line(call.writer, {"ok": False, "error": failure.to_wire()})

    async def offset(self, begun: Begun) -> dict[str, Any]:
        """How much of it has come; 0 of one that never began, or was given up."""
        target, part = await self._places(begun)
        return {"offset": await self._files.do(target, lambda: _size_of(part))}

    async def abandon(self, begun: Begun) -> None:
        """Nothing is left of it. Idempotent."""
        target, part = await self._places(begun)
        await self._files.do(target, lambda: part.unlink(missing_ok=True))

    async def _places(self, begun: Begun) -> tuple[Path, Path]:
        path = self._files.path(begun.path)
        target = await self._files.do(path, path.resolve)
        return target, begun.beside(target)

    async def _receive(self, call: Call, fd: int, piece: Piece, target: Path) -> OrielError | None:
        """All that was announced is read, also after an error: else the caller would not hear of it."""
        failure: OrielError | None = None
        pieces: list[bytes] = []
        held, left = 0, piece.size
        try:
            async for data in read_chunks(call.reader, piece.size):
                left -= len(data)
                if failure is not None:
                    continue
                pieces.append(data)
                held += len(data)
                if held >= CHUNK or not left:
                    whole, pieces, held = b"".join(pieces), [], 0
                    try:
                        await self._files.do(target, lambda: write_all(fd, whole))  # noqa: B023
                    except OrielError as error:
                        failure = error
        finally:
            if left and pieces:  # the caller has gone: this much has come
                whole = b"".join(pieces)
                with suppress(OrielError):
                    await asyncio.shield(self._files.do(target, lambda: write_all(fd, whole)))
        return failure


def _open(part: Path, piece: Piece) -> int:
    """Locked, at its end, which is where the piece belongs."""
    if piece.offset == 0:
        _sweep(part.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(part, flags, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another connection is sending this file", retry_after_s=1) from None
        there = os.fstat(fd).st_size
        if there != piece.offset:
            raise StateError(
                f"{there} bytes of it have come, not {piece.offset}",
                hint="ask how many there are, and go on from there", code="wrong_offset",
            )  # fmt: skip
        room = os.fstatvfs(fd)
        if room.f_bavail * room.f_frsize < piece.total - there:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _finish(fd: int, mode: int, part: Path, target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    os.fchmod(fd, mode)
    commit_file(fd, part, target)


def _size_of(part: Path) -> int:
    try:
        return part.lstat().st_size
    except FileNotFoundError:
        return 0


def _sweep(directory: Path) -> None:
    """What somebody began here and never came back to."""
    oldest = time.time() - KEPT_S
    for entry in os.scandir(directory):
        if _BEGUN.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
            with suppress(OSError):
                Path(entry.path).unlink()
