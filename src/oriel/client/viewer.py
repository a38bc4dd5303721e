"""A viewer without a window: an RFB connection kept open, its picture, its keyboard and its pointer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from oriel.client.aio.transport import Socket
from oriel.client.picture import Area, Picture
from oriel.client.rfb import Message, Session, Update, keysyms_of, named_keysym
from oriel.model.errors import OrielError, UnavailableError, WireError

__all__ = ["Viewer", "open_viewer"]


class Viewer:
    """Made by `open_viewer`. Once the connection has `ended`, `broken` is why."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._session = Session()
        self._changed = asyncio.Condition()
        self._sending = asyncio.Lock()
        self._updates = 0
        self._drawn: list[Area] | None = []  # None once the picture was whole
        self.broken: OrielError | None = None
        self.ended = asyncio.Event()

    @property
    def updates(self) -> int:
        """How many times the picture was drawn on so far."""
        return self._updates

    @property
    def screen(self) -> Area:
        return self._picture.area

    def picture(self, area: Area | None = None) -> Picture:
        """A copy of what is on the screen, or of `area` of it."""
        return self._picture.crop(area or self._picture.area)

    async def first_picture(self, *, deadline_s: float) -> Picture:
        """The first whole picture: every pixel drawn. UnavailableError after `deadline_s`."""
        whole = f"the desktop's screen was not drawn wholly within {deadline_s:g} s"
        await self._until(lambda: self._session.picture is not None, deadline_s, whole)
        await self._until(self._wholly_drawn, deadline_s, whole)
        self._drawn = None
        return self.picture()

    async def until(self, holds: Callable[[], bool], *, deadline_s: float, what: str) -> None:
        """Until `holds()`, asked again whenever the picture changes.

        UnavailableError after `deadline_s`, saying that `what` was not seen; the connection's own error
        if it ends first.
        """
        await self._until(holds, deadline_s, f"{what} was not seen within {deadline_s:g} s")

    async def heartbeat(self, *, deadline_s: float) -> None:
        """Ask for a corner of the screen, changed or not; UnavailableError if it does not come."""
        before = self._updates
        self._session.request_update(incremental=False, area=Area(0, 0, 16, 16))
        await self._flush()
        await self._until(
            lambda: self._updates > before, deadline_s, f"no answer to a viewer within {deadline_s:g} s"
        )

    async def type(self, text: str) -> None:
        for keysym in keysyms_of(text):
            await self._stroke([keysym])

    async def press(self, *names: str) -> None:
        """A key, or a chord: `press("ctrl", "l")`."""
        await self._stroke([named_keysym(name) for name in names])

    async def move(self, x: int, y: int) -> None:
        self._session.pointer(x, y)
        await self._flush()

    async def click(self, x: int, y: int) -> None:
        for buttons in (0, 1, 0):
            self._session.pointer(x, y, buttons=buttons)
        await self._flush()

    async def _stroke(self, keysyms: Sequence[int]) -> None:
        for keysym in keysyms:
            self._session.key(keysym, down=True)
        for keysym in reversed(keysyms):
            self._session.key(keysym, down=False)
        await self._flush()

    async def read(self) -> None:
        """Until the connection ends; `broken` then says why. One task of `open_viewer` runs it."""
        try:
            while (data := await self._socket.receive()) is not None:
                if isinstance(data, str):
                    raise WireError("text came over a WebSocket that carries RFB")
                await self._take(data)
            ended: OrielError = UnavailableError("the viewer's connection was closed by the other side")
        except OrielError as error:
            ended = error
        async with self._changed:
            self.broken = ended
            self.ended.set()
            self._changed.notify_all()

    async def _take(self, data: bytes) -> None:
        connected = self._session.picture is not None
        messages = self._session.receive(data)
        if not connected and self._session.picture is not None:
            self._session.request_update(incremental=False)
        await self._note(messages)
        await self._flush()

    async def _note(self, messages: Sequence[Message]) -> None:
        updates = [message for message in messages if isinstance(message, Update)]
        for update in updates:
            if update.resized:
                self._drawn = None if self._drawn is None else []
                self._session.request_update(incremental=False)
            if self._drawn is not None:
                self._drawn.extend(update.areas)
            self._updates += bool(update.areas)
            # One request is always under way, as with every viewer: changes come when they happen.
            self._session.request_update(incremental=True)
        if updates:
            async with self._changed:
                self._changed.notify_all()

    async def _flush(self) -> None:
        async with self._sending:
            outgoing, self._session.outgoing = bytes(self._session.outgoing), bytearray()
            if outgoing:
                await self._socket.send(outgoing)

    async def _until(self, holds: Callable[[], bool], deadline_s: float, problem: str) -> None:
        try:
            async with asyncio.timeout(deadline_s), self._changed:
                await self._changed.wait_for(lambda: self.broken is not None or holds())
        except TimeoutError as error:
            raise UnavailableError(problem) from error
        if not holds() and self.broken is not None:
            raise self.broken

    def _wholly_drawn(self) -> bool:
        screen = self._picture.area
        seen = bytearray(screen.pixels)
        for area in self._drawn or ():
            line = b"\1" * area.width
            for row in range(area.y, area.y + area.height):
                start = row * screen.width + area.x
                seen[start : start + area.width] = line
        return b"\0" not in seen

    @property
    def _picture(self) -> Picture:
        if self._session.picture is None:
            raise UnavailableError("the viewer is not connected yet")
        return self._session.picture


@asynccontextmanager
async def open_viewer(socket: Socket) -> AsyncIterator[Viewer]:
    """A viewer over an open WebSocket; both end with the block."""
    viewer = Viewer(socket)
    # No task group: it would wrap every error of the block.
    reading = asyncio.create_task(viewer.read())
    try:
        yield viewer
    finally:
        reading.cancel()
        await socket.aclose()
        with suppress(asyncio.CancelledError):
            await reading
