"""Taking pictures of the screen when XDAMAGE says that it changed, and never otherwise."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from agent.display import Display
from agent.media.damage import Band, Pace
from agent.media.picture import Picture
from agent.media.shm import SharedScreen

__all__ = ["Capture", "Taker"]


class Taker(Protocol):
    """Gets the pictures. All are called in the display's thread."""

    def sized(self, width: int, height: int) -> None:
        """From now on pictures have that size."""

    def taken(self, picture: Picture, *, changed: bool, seconds: float) -> bool:
        """A picture; true if `Capture.done` will be called once there is room for the next."""


class Capture:
    """The pictures of one display while it is watched. A listener of `display`, anew after each loss.

    At most one picture is under way: whoever encodes says `done`.
    """

    def __init__(self, display: Display, taker: Taker, *, fps: float = 60.0) -> None:
        self._display = display
        self._taker = taker
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(fps)
        self._band = Band()
        self._screen: SharedScreen | None = None
        self._picture: Picture | None = None
        self._damage = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._watched = False
        self._pending: tuple[int, int] | None = None
        self._gone = asyncio.Event()

    async def watch(self) -> None:
        """Take pictures until cancelled, through every loss of the display."""
        try:
            while True:
                await self._display.up()
                self._gone.clear()
                await self._display.use(self._begin)
                await self._gone.wait()
        finally:
            self._display.post(self._end)

    def done(self) -> None:
        """From any thread: the last picture is on its way, there is room for another."""
        self._display.post(self._ready)

    def again(self) -> None:
        """From any thread: a picture, although nothing changed."""
        self._display.post(self._whole)

    def nudge(self) -> None:
        """From any thread: the last picture once more, unless one comes anyway."""
        self._display.post(self._nudge)

    def pace(self, fps: float) -> None:
        """From any thread: at most that many pictures a second."""
        self._display.post(lambda: setattr(self._pace, "fps", fps))

    # What follows runs in the display's thread.

    def _begin(self, display: Any) -> None:
        from Xlib import X
        from Xlib.ext import damage

        self._watched = True
        self._display.listen(self)
        display.damage_query_version()
        root = display.screen().root
        root.change_attributes(event_mask=X.StructureNotifyMask)
        self._damage = root.damage_create(damage.DamageReportBoundingBox)
        at = root.get_geometry()
        self._resize(display, at.width, at.height)
        self._look(display)

    def _resize(self, display: Any, width: int, height: int) -> None:
        width, height = width & ~1, height & ~1
        if self._screen is not None:
            self._screen.close()
        self._screen = SharedScreen(display, width, height)
        self._picture = Picture(width, height)
        self._band.add(0, height)
        self._busy = False
        self._taker.sized(width, height)

    def _end(self) -> None:
        self._watched = False
        self._display.unlisten(self)
        if self._screen is not None:
            self._screen.close()
        self._screen = self._picture = None

    def event(self, event: Any) -> None:
        name = event.__class__.__name__
        if name == "DamageNotify":
            self._band.add(event.area.y, event.area.y + event.area.height)
        elif name == "ConfigureNotify" and self._picture is not None:
            at = self._picture.layout
            if (event.width & ~1, event.height & ~1) != (at.width, at.height):
                self._pending = (event.width, event.height)

    def settled(self, display: Any) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._resize(display, *pending)
        self._look(display)

    def lost(self) -> None:
        self._screen = self._picture = None
        self._loop.call_soon_threadsafe(self._gone.set)

    def _ready(self) -> None:
        self._busy = False
        self._with_display()

    def _whole(self) -> None:
        if self._picture is not None:
            self._band.add(0, self._picture.layout.height)
            self._with_display()

    def _nudge(self) -> None:
        self._pace.again()
        self._with_display()

    def _with_display(self) -> None:
        if self._screen is not None:
            self._display.attempt(self._look)

    def _look(self, display: Any) -> None:
        """Take a picture if one is due, or come back when it will be."""
        if self._busy or self._screen is None or self._picture is None or not self._watched:
            return
        changed = bool(self._band)
        due = self._pace.due(time.monotonic(), changed=changed)
        if due is None:
            return
        if due > 0:
            self._later(due)
            return
        self._take(display, self._screen, self._picture, changed=changed)

    def _take(self, display: Any, screen: SharedScreen, picture: Picture, *, changed: bool) -> None:
        from Xlib.error import XError

        began = time.monotonic()
        if changed:
            top, bottom = self._band.take(picture.layout.height)
            display.damage_subtract(self._damage)  # before reading: what changes meanwhile is told again
            try:
                screen.read(top, bottom)
            except XError:
                return  # the screen has just shrunk: its ConfigureNotify is on its way
            picture.update(screen.address, screen.stride, top, bottom)
        now = time.monotonic()
        self._pace.took(now, changed=changed)
        self._busy = self._taker.taken(picture, changed=changed, seconds=now - began)
        if not self._busy:
            return
        # Refinements come by the clock, since nothing else will wake us.
        due = self._pace.due(now, changed=bool(self._band))
        if due is not None:
            self._later(due)

    def _later(self, seconds: float) -> None:
        def arm() -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(seconds, lambda: self._display.post(self._with_display))

        self._loop.call_soon_threadsafe(arm)
