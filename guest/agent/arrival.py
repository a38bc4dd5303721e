"""Waiting for a file to appear."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType

from agent.inotify import Inotify

__all__ = ["Arrival"]

# <sys/inotify.h>
IN_ATTRIB, IN_MOVED_TO, IN_CREATE, IN_DELETE_SELF = 0x4, 0x80, 0x100, 0x400
CHANGES = IN_ATTRIB | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF


class Arrival:
    """Notices that `path`, or its missing directory, is made. Used as a context, on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._event = asyncio.Event()
        self._inotify = Inotify(lambda _events: self._event.set())

    def __enter__(self) -> Arrival:
        self._inotify.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inotify.__exit__(kind, error, trace)

    def forget(self) -> None:
        """What happens from here on counts. Call it before looking whether the file is there."""
        for directory in (self._path.parent, self._path.parent.parent):
            # Watching the same directory again changes nothing; one made since is watched from now on.
            self._inotify.watch(directory, CHANGES)
        self._event.clear()

    async def wait(self, longest_s: float) -> None:
        """Until something was made there, or `longest_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._event.wait()
