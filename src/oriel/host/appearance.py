"""Waiting for a file to appear, by inotify(7): no polling. The standard library has no door to it."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

from oriel.model.errors import HostError

__all__ = ["appeared"]

IN_CREATE, IN_MOVED_TO = 0x100, 0x80  # <sys/inotify.h>

_libc = ctypes.CDLL(None, use_errno=True)


async def appeared(path: Path) -> None:
    """Until there is something at `path`. Its directory must exist; the caller sets the deadline."""
    watch = _watch(path.parent)
    news = asyncio.Event()
    loop = asyncio.get_running_loop()

    def changed() -> None:
        os.read(watch, 1 << 16)
        news.set()

    loop.add_reader(watch, changed)
    try:
        # Looked at after the watch stands: nothing can slip through between.
        while not os.path.lexists(path):  # noqa: ASYNC240 - one lstat(2), and no link is followed
            news.clear()
            await news.wait()
    finally:
        loop.remove_reader(watch)
        os.close(watch)


def _watch(directory: Path) -> int:
    watch: int = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if watch < 0 or _libc.inotify_add_watch(watch, os.fsencode(directory), IN_CREATE | IN_MOVED_TO) < 0:
        number = ctypes.get_errno()
        if watch >= 0:
            os.close(watch)
        raise HostError(
            f"{directory} cannot be watched: {os.strerror(number)}",
            hint="sysctl fs.inotify.max_user_instances",
        )
    return watch
