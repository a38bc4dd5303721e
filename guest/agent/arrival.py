"""Waiting for a file to appear, by inotify (Python has no binding; these three calls are all of it)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path
from types import TracebackType

__all__ = ["Arrival"]

# <sys/inotify.h>
IN_ATTRIB, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF = 0x4, 0x80, 0x100, 0x400
CHANGES = IN_ATTRIB | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF


class Arrival:
    """Notices that `path`, or its missing directory, is made. Used as a context, on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._event = asyncio.Event()

    def __enter__(self) -> Arrival:
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        asyncio.get_running_loop().add_reader(self._fd, self._noticed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _noticed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)
        self._event.set()

    def forget(self) -> None:
        """What happens from here on counts. Call it before looking whether the file is there."""
        for directory in (self._path.parent, self._path.parent.parent):
            # Watching the same directory again changes nothing; one made since is watched from now on.
            self._libc.inotify_add_watch(self._fd, os.fsencode(directory), CHANGES)
        self._event.clear()

    async def wait(self, longest_s: float) -> None:
        """Until something was made there, or `longest_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._event.wait()
