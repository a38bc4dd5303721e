"""`clipboard_watch`: telling when another program has copied something (XFixes)."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.display import Display
from oriel.model.errors import OrielError, UnavailableError

__all__ = ["Watch"]

OWNER, WINDOW_GONE, CLIENT_GONE = 1, 2, 4  # xfixesproto, 10.2


class Watch:
    """Listens for changes of the clipboard's owner. A listener of the display."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._changes = asyncio.Event()
        self._failure: OrielError | None = None

    async def begin(self) -> None:
        await self._display.use(self._select)

    async def next(self) -> None:
        """Wait for a change. UnavailableError once the display is lost."""
        await self._changes.wait()
        self._changes.clear()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        self._display.stop_listening(self)

    # What follows runs in the display's thread.

    def _select(self, display: Any) -> None:
        display.xfixes_query_version()
        mask = OWNER | WINDOW_GONE | CLIENT_GONE
        display.xfixes_select_selection_input(display.screen().root, display.get_atom("CLIPBOARD"), mask)
        self._display.listen(self)

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "SetSelectionOwnerNotify":
            self._loop.call_soon_threadsafe(self._changes.set)

    def settled(self, display: Any) -> None:
        """Each event was told when it came."""

    def lost(self) -> None:
        self._failure = UnavailableError("the desktop's display went away", hint="ask again: it comes back")
        self._loop.call_soon_threadsafe(self._changes.set)
