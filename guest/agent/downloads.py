"""`downloads_watch`: telling of files that are finished in ~/Downloads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from agent.inotify import Inotify

__all__ = ["Downloads"]

K = TypeVar("K")
V = TypeVar("V")
# <sys/inotify.h>
IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_IGNORED = 0x8, 0x40, 0x80, 0x100, 0x8000
IN_ONLYDIR, IN_DONT_FOLLOW = 0x0100_0000, 0x0200_0000
HEAD = struct.Struct("iIII")
# What browsers and others call a file that is not finished yet.
UNFINISHED = re.compile(
    r"\..*|.*\.(crdownload|part|partial|download|tmp|opdownload)", re.DOTALL | re.IGNORECASE
)
# What an upload of ours is called until it is whole (replacement.py, pieces.py): nobody is offered it back.
OURS = re.compile(r"\..*\.[0-9a-f]{12,64}\.part", re.DOTALL)
MOST_WAITING = 100
MOST_MOVES = 64


class Downloads:
    """A context on the event loop. `next` gives each file that was finished since it was entered."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._directory = home / "Downloads"
        self._inotify = Inotify(self._noticed)
        self._watched = -1
        self._waiting: deque[dict[str, str | int]] = deque(maxlen=MOST_WAITING)
        self._there = asyncio.Event()
        self._moved: dict[int, str] = {}
        self._ours: dict[str, bool] = {}  # put in place by us, and not closed yet

    def __enter__(self) -> Downloads:
        self._inotify.__enter__()
        self._inotify.watch(self._home, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)
        self._follow()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inotify.__exit__(kind, error, trace)

    async def next(self) -> dict[str, str | int]:
        """`{name, size}` of the next one."""
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        return self._waiting.popleft()

    def _follow(self) -> bool:
        """Watch the directory, if there is one: it is made with the first download."""
        mask = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW
        self._watched = self._inotify.watch(self._directory, mask)
        return self._watched >= 0

    def _noticed(self, data: bytes) -> None:
        for watch, mask, cookie, name in _events(data):
            if watch == self._watched:
                self._changed(mask, cookie, name)
            elif name == self._directory.name and self._follow():
                # Made a moment ago: what is whole in it already is as new.
                for found in self._names():
                    self._look(found)

    def _names(self) -> list[str]:
        with contextlib.suppress(OSError):
            return sorted(os.listdir(self._directory))  # noqa: PTH208 - names, not paths
        return []

    def _changed(self, mask: int, cookie: int, name: str) -> None:
        if mask & IN_IGNORED:
            self._watched = -1
        elif mask & IN_MOVED_FROM:
            _remember(self._moved, cookie, name)  # some only leave the directory
        elif mask & IN_MOVED_TO and OURS.fullmatch(self._moved.pop(cookie, "")):
            _remember(self._ours, name, True)
        elif mask & IN_MOVED_TO or not self._ours.pop(name, False):
            self._look(name)

    def _look(self, name: str) -> None:
        if UNFINISHED.fullmatch(name):
            return
        try:
            found = (self._directory / name).lstat()
        except OSError:
            return  # gone again
        # Some browsers reserve a name by an empty file.
        if stat.S_ISREG(found.st_mode) and found.st_size:
            # What is not UTF-8 is shown with marks, as listings do.
            shown = os.fsencode(name).decode("utf-8", "replace")
            self._waiting.append({"name": shown, "size": found.st_size})
            self._there.set()


def _remember(table: dict[K, V], key: K, value: V) -> None:
    """The newest MOST_MOVES."""
    table[key] = value
    if len(table) > MOST_MOVES:
        del table[next(iter(table))]


def _events(data: bytes) -> Iterator[tuple[int, int, int, str]]:
    at = 0
    while at < len(data):
        watch, mask, cookie, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        yield watch, mask, cookie, os.fsdecode(data[at : at + length].rstrip(b"\0"))
        at += length
