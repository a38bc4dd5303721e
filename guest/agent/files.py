"""The desktop's files, touched with the rights of its user and no more.

Every access is made by one thread that has put off root's rights over files (setfsuid(2) is a matter of the
single thread), so a link or a race inside the desktop leads nowhere its user could not go by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.arguments import Arguments
from agent.environment import account, groups_of
from agent.replacement import commit_file, temporary_beside
from agent.worker import Worker
from oriel.model.errors import (
    ForbiddenError,
    HostError,
    InvalidError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    StateError,
)
from oriel.model.wire import MAX_LINE, Call, read_chunks, write_line

__all__ = [
    "DEFAULT_MODE",
    "LARGEST",
    "Files",
    "Upload",
    "parse_deletion",
    "parse_listing",
    "parse_path",
    "parse_upload",
    "take_path",
    "write_all",
]

T = TypeVar("T")
CHUNK = 1 << 20
PATH_BYTES = 4096  # PATH_MAX
LARGEST = 1 << 50
DEFAULT_MODE = 0o644
LISTING_BYTES = MAX_LINE // 2  # of one answer; JSON may double what a name takes
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


@dataclass(frozen=True, kw_only=True)
class Upload:
    """`mode` None: the old file's, or 0644."""

    path: str
    size: int
    mode: int | None


def take_path(args: Arguments) -> str:
    path = args.text("path", limit=PATH_BYTES)
    if not path and not args.faults:
        args.fault("path", "must not be empty")
    return path


def parse_path(values: Mapping[str, Any]) -> str:
    args = Arguments(values)
    path = take_path(args)
    args.done()
    return path


def parse_upload(values: Mapping[str, Any]) -> Upload:
    args = Arguments(values)
    path, size = take_path(args), args.whole("size", 0, LARGEST)
    mode = args.whole("mode", 0, 0o7777) if args.has("mode") else None
    args.any("mode", None)
    args.done()
    return Upload(path=path, size=size, mode=mode)


def parse_listing(values: Mapping[str, Any]) -> dict[str, Any]:
    args = Arguments(values)
    listing = {"path": take_path(args), "after": args.text("after", default="")}
    args.done()
    return listing


def parse_deletion(values: Mapping[str, Any]) -> dict[str, Any]:
    args = Arguments(values)
    deletion = {"path": take_path(args), "recursive": args.flag("recursive")}
    args.done()
    return deletion


def _take_rights_of(user: str) -> None:
    """Give the calling thread the user's rights over files, and only those."""
    who = account(user)
    libc = ctypes.CDLL(None)
    # The groups are the whole process's; `exec` sets its own, and nothing else here looks at them.
    os.setgroups(groups_of(who))
    libc.setfsgid(who.pw_gid)
    libc.setfsuid(who.pw_uid)
    # Both answer the previous id, never an error: asked again, they tell what is so now.
    if (libc.setfsgid(-1), libc.setfsuid(-1)) != (who.pw_gid, who.pw_uid):
        raise HostError(
            f"the agent could not take on {user}'s rights over files",
            hint="it must run as root in the desktop",
        )


class Files:
    """File verbs; relative paths are under the user's home."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._thread = Worker("files")
        self._rights_taken = False

    def path(self, text: str) -> Path:
        return Path(account(self._user).pw_dir, text)

    async def do(self, path: Path, work: Callable[[], T]) -> T:
        """In the user's thread, with the system's errors told as ours."""

        def told() -> T:
            if not self._rights_taken:
                _take_rights_of(self._user)
                self._rights_taken = True
            with _told(path):
                return work()

        return await self._thread.run(told, deadline_s=600)

    async def read(self, call: Call, text: str) -> None:
        """Announce a regular file and stream it. One that shrinks meanwhile ends the stream early."""
        path = self.path(text)
        fd = await self.do(path, lambda: _open_regular(path))
        try:
            status = os.fstat(fd)
            await call.answer(
                {"size": status.st_size, "mode": stat.S_IMODE(status.st_mode), "mtime": status.st_mtime}
            )
            left = status.st_size
            while left and (data := await self.do(path, lambda: os.read(fd, min(CHUNK, left)))):  # noqa: B023
                left -= len(data)
                call.writer.write(data)
                await call.writer.drain()
        finally:
            # In the thread: after a read that was given up, but that may still go on there.
            await asyncio.shield(self.do(path, lambda: os.close(fd)))

    async def write(self, call: Call, upload: Upload) -> None:
        """Take `size` bytes into a file beside the target, which then replaces it.

        Until the last line is answered the old file stands; after any error, or if the caller vanishes,
        it stays. A link is followed.
        """
        path = self.path(upload.path)
        target = await self.do(path, path.resolve)
        temporary = temporary_beside(target)
        fd, mode = await self.do(target, lambda: _begin_upload(target, temporary, upload))
        failure: OrielError | None = None
        try:
            await call.answer({})
            await self._receive(call, fd, upload.size, target)
            await self.do(target, lambda: _finish_upload(fd, mode, temporary, target))
        except OrielError as error:
            failure = error
        finally:
            await asyncio.shield(self.do(target, lambda: _abandon(fd, temporary)))
        if failure is None:
            await write_line(call.writer, {"ok": True, "result": {"path": str(target), "size": upload.size}})
        else:
            await write_line(call.writer, {"ok": False, "error": failure.to_wire()})

    async def _receive(self, call: Call, fd: int, size: int, path: Path) -> None:
        """All that was announced is read, also after an error: else the caller would not hear of it."""
        failure: OrielError | None = None
        pieces: list[bytes] = []
        held, left = 0, size
        async for piece in read_chunks(call.reader, size):
            left -= len(piece)
            if failure is not None:
                continue
            pieces.append(piece)
            held += len(piece)
            if held >= CHUNK or not left:
                data, pieces, held = b"".join(pieces), [], 0
                try:
                    await self.do(path, lambda: write_all(fd, data))  # noqa: B023
                except OrielError as error:
                    failure = error
        if failure is not None:
            raise failure

    async def list(self, path: str, after: str) -> dict[str, Any]:
        """Entries of a directory by name, those following `after`; `more`: ask again after the last."""
        where = self.path(path)
        return await self.do(where, lambda: _entries(where, after))

    async def delete(self, path: str, recursive: bool) -> None:
        """A file, a link (not what it points to) or an empty directory; `recursive`: a directory with all."""
        where = self.path(path)
        await self.do(where, lambda: _delete(where, recursive=recursive))


def _open_regular(path: Path) -> int:
    # O_NONBLOCK: a pipe must not hold the thread until somebody writes to it.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise InvalidError(f"{path} is {what}", hint="only regular files can be read", code="not_a_file")


def _begin_upload(target: Path, temporary: Path, upload: Upload) -> tuple[int, int]:
    """The open temporary file and the mode it shall get."""
    mode = upload.mode
    with suppress(FileNotFoundError):
        old = target.lstat().st_mode
        if not stat.S_ISREG(old):
            what = "a directory" if stat.S_ISDIR(old) else "not a regular file"
            raise InvalidError(f"{target} is {what}", hint="name a file to write", code="not_a_file")
        mode = stat.S_IMODE(old) if mode is None else mode
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    room = os.fstatvfs(fd)
    if room.f_bavail * room.f_frsize < upload.size:
        os.close(fd)
        temporary.unlink()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    return fd, DEFAULT_MODE if mode is None else mode


def _finish_upload(fd: int, mode: int, temporary: Path, target: Path) -> None:
    os.fchmod(fd, mode)
    commit_file(fd, temporary, target)


def _abandon(fd: int, temporary: Path) -> None:
    """Close, and remove what was not renamed."""
    os.close(fd)
    temporary.unlink(missing_ok=True)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _entries(path: Path, after: str) -> dict[str, Any]:
    # A name that is not UTF-8 is shown with replacement marks: lone surrogates would upset our callers.
    found = os.listdir(os.fsencode(path))  # noqa: PTH208 - as bytes, to be decoded here
    names = sorted((name.decode("utf-8", "replace"), name) for name in found)
    entries: list[dict[str, Any]] = []
    used = 0
    for name, raw in names:
        if name <= after:
            continue
        try:
            status = (path / os.fsdecode(raw)).lstat()
        except FileNotFoundError:
            continue  # deleted while we looked
        used += 6 * len(name) + 100  # the most that JSON makes of a name, and the numbers
        if used > LISTING_BYTES and entries:
            return {"entries": entries, "more": True}
        entries.append(
            {
                "name": name,
                "type": TYPES.get(stat.S_IFMT(status.st_mode), "other"),
                "size": status.st_size,
                "mode": stat.S_IMODE(status.st_mode),
                "mtime": status.st_mtime,
            }
        )
    return {"entries": entries, "more": False}


def _delete(path: Path, *, recursive: bool) -> None:
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
    elif recursive:
        shutil.rmtree(path)  # does not follow links
    else:
        path.rmdir()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """An OSError as the error of ours that tells the caller what to do."""
    try:
        yield
    except OSError as error:
        raise _as_ours(path, error) from error


def _as_ours(path: Path, error: OSError) -> OrielError:
    named = error.filename if isinstance(error.filename, str) else ""
    where = str(path) if not named or named.endswith(".part") else named
    why = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT:
            return NotFoundError(
                f"there is no {where} in the desktop",
                hint="check the path; directories are not made by themselves",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ForbiddenError(
                f"the desktop's user may not touch {where}", hint="use `exec` with user root for system files"
            )
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return NoSpaceError(
                f"no space for {where} in the desktop", hint="delete files there, or give it a larger disk"
            )
        case errno.ENOTEMPTY:
            return StateError(f"{where} is not empty", hint="ask with `recursive` to delete all in it")
        case errno.ENOTDIR | errno.EISDIR | errno.ELOOP | errno.ENAMETOOLONG | errno.EINVAL:
            return InvalidError(f"{where}: {why}", hint="check the path", code="bad_path")
    return OrielError(f"{where}: {why}", hint="the desktop's disk may be damaged", code="io")
