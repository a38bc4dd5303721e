"""The desktop's clipboard, shared with the viewers that drive: text, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.clipboard import Clipboard
from agent.display import Display
from agent.selection import Watch
from oriel.model.errors import OrielError

__all__ = ["MOST_BYTES", "Exchange", "Incoming"]

MOST_BYTES = 900_000  # of UTF-8: what the clipboard of a desktop gives in one piece
AGAIN_S = 1.0

Tell = Callable[[str], None]


class Exchange:
    """Watches while somebody listens. A text that a viewer gave is told to the others, not to it."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._clipboard = Clipboard(display)
        self._listeners: list[Tell] = []
        self._watching: asyncio.Task[None] | None = None
        self._given: tuple[Tell, str] | None = None

    def listen(self, tell: Tell) -> None:
        self._listeners.append(tell)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(), name="clipboard")

    def unlisten(self, tell: Tell) -> None:
        """Idempotent."""
        self._listeners = [other for other in self._listeners if other != tell]
        if not self._listeners and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def give(self, tell: Tell, text: str) -> None:
        """A viewer's text becomes the desktop's."""
        self._given = (tell, text)
        try:
            await self._clipboard.set(text)
        except OrielError as error:
            print(f"a viewer's clipboard was lost: {error.message}", flush=True)

    async def _watch(self) -> None:
        while True:
            await self._display.up()
            watch = Watch(self._display)
            try:
                await watch.begin()
                while True:
                    await watch.next()
                    await self._tell()
            except OrielError:
                await asyncio.sleep(AGAIN_S)  # the display went away, or a program does not answer
            finally:
                watch.end()

    async def _tell(self) -> None:
        text = await self._clipboard.get()
        giver = self._given[0] if self._given is not None and self._given[1] == text else None
        for tell in self._listeners:
            if text and tell != giver:
                tell(text)


class Incoming:
    """A viewer's text on its way to us, in pieces of any size."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> str | None:
        """The whole text with its last piece. ValueError if it is more than was said, or no UTF-8."""
        self._left -= len(piece)
        self._pieces.append(piece)
        if self._left < 0:
            raise ValueError("more came than was announced")
        return b"".join(self._pieces).decode() if self._left == 0 else None
