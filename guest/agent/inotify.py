"""inotify(7) on the event loop. Python has no binding; these two calls are all of it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

__all__ = ["Inotify"]


class Inotify:
    """A context: while it lasts, `noticed` gets the events as the kernel gives them, several at a time."""

    def __init__(self, noticed: Callable[[bytes], None]) -> None:
        self._noticed = noticed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1

    def __enter__(self) -> Inotify:
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def watch(self, directory: Path, mask: int) -> int:
        """The watch's number; below 0 if there is no such directory. Again, for the same one, is no other."""
        return int(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), mask))

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._noticed(os.read(self._fd, 1 << 16))
