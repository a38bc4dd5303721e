"""Keeping the screen at its wanted size, also for a display that comes later or comes again."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from agent.display import Display
from oriel.model.errors import OrielError, UnavailableError
from oriel.model.spec import Screen

__all__ = ["ScreenSize"]


class ScreenSize:
    """The size a desktop's screen should have. Remembered in `record`, for an agent that was restarted."""

    def __init__(self, display: Display, record: Path) -> None:
        self._display = display
        self._record = record
        self._wanted: Screen | None = None
        self._keeping: asyncio.Task[None] | None = None

    def resume(self) -> None:
        """Take up what an earlier agent was told in this boot."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            width, _, height = self._record.read_text().strip().partition("x")
            self._wanted = Screen(width=int(width), height=int(height))
            self._keep()

    async def want(self, screen: Screen) -> str:
        """Have that size from now on. "set", or "later" if there is no display yet.

        InvalidError if the display cannot be that large; then nothing is remembered.
        """
        from agent.screen import set_size

        with contextlib.suppress(UnavailableError):
            await self._display.use(lambda display: set_size(display, screen))
            self._remember(screen)
            return "set"
        self._remember(screen)
        return "later"

    def _remember(self, screen: Screen) -> None:
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._record.write_text(f"{screen.width}x{screen.height}\n")
        self._wanted = screen
        self._keep()

    def _keep(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_for_ever())

    async def _keep_for_ever(self) -> None:
        while True:
            await self._display.up()
            loss = _Loss()
            with contextlib.suppress(OrielError):
                await self._display.use(partial(self._apply, loss=loss))
                await loss.happened.wait()

    def _apply(self, display: Any, loss: _Loss) -> None:
        from agent.screen import set_size

        self._display.listen(loss)
        if self._wanted is not None:
            set_size(display, self._wanted)


class _Loss:
    """Hears when the connection to the display is lost."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.happened = asyncio.Event()

    def event(self, event: Any) -> None:
        """Only the loss matters."""

    def settled(self, display: Any) -> None:
        """Only the loss matters."""

    def lost(self) -> None:
        self._loop.call_soon_threadsafe(self.happened.set)
