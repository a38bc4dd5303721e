"""`wait_ready`: until the wanted windows are on the screen and painted, told by X events alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from agent.display import Display
from agent.paint import Rect
from agent.windows import Window, list_windows
from oriel.model.errors import UnavailableError

__all__ = ["wait_ready"]


async def wait_ready(display: Display, kinds: Collection[str], *, deadline_s: float) -> list[Window]:
    """All windows, once one of every kind is mapped and painted. Survives a restart of the display.

    UnavailableError after `deadline_s`, saying for each missing kind what was there.
    """
    watch: _Watch | None = None
    deadline = time.monotonic() + deadline_s
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline_s):
            while True:
                await display.up()
                watch = _Watch(display, set(kinds))
                try:
                    await display.use(watch.begin, deadline_s=max(1.0, deadline - time.monotonic()))
                    return await watch.result
                except UnavailableError:
                    continue  # the display went away: wait for the next
                finally:
                    display.post(watch.stop)
    except TimeoutError as error:
        raise UnavailableError(
            f"not ready within {deadline_s:g} s: {watch.missing() if watch else 'the display is not up'}",
            hint="`oriel logs` and a screenshot of the desktop show what it is doing",
        ) from error


class _Watch:
    """Looks again whenever something was mapped, moved, retitled or drawn that could matter."""

    def __init__(self, display: Display, kinds: set[str]) -> None:
        self._display = display
        self._kinds = kinds
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[list[Window]] = self._loop.create_future()
        self._seen: list[Window] = []
        self._followed: set[int] = set()
        self._x: Any = None
        self._damage = 0
        self._changed = False
        self._drawn: list[Rect] = []

    def begin(self, display: Any) -> None:
        """First ask for the events, then look: nothing falls between."""
        from Xlib import X
        from Xlib.ext import damage

        self._x = display
        root = display.screen().root
        root.change_attributes(event_mask=X.SubstructureNotifyMask | X.PropertyChangeMask)
        display.damage_query_version()
        self._damage = root.damage_create(damage.DamageReportBoundingBox)
        self._display.listen(self)
        self._look(display)

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "DamageNotify":
            if event.damage == self._damage:
                area = event.area
                self._drawn.append(Rect(area.x, area.y, area.width, area.height))
        else:
            self._changed = True

    def settled(self, display: Any) -> None:
        drawn, self._drawn = self._drawn, []
        if drawn:
            display.damage_subtract(self._damage)  # before looking: what is drawn from now on is told again
        waiting = [window for window in self._seen if window.kind in self._kinds and not window.painted]
        if self._changed or any(window.area.cut(area).area for window in waiting for area in drawn):
            self._changed = False
            self._look(display)

    def stop(self) -> None:
        """Ask for no more events; in the display's thread. May be called again."""
        self._display.unlisten(self)
        x, self._x = self._x, None
        if x is not None:
            x.damage_destroy(self._damage)

    def lost(self) -> None:
        self._x = None
        self._loop.call_soon_threadsafe(self._fail)

    def _succeed(self, windows: list[Window]) -> None:
        if not self.result.done():
            self.result.set_result(windows)

    def _fail(self) -> None:
        if not self.result.done():
            self.result.set_exception(UnavailableError("the display went away"))

    def _look(self, display: Any) -> None:
        self._seen = list_windows(display, look=lambda window: window.kind in self._kinds)
        for window in self._seen:
            if window.id not in self._followed:  # for its title and class, which may come late
                from Xlib import X

                self._followed.add(window.id)
                resource = display.create_resource_object("window", window.id)
                resource.change_attributes(event_mask=X.PropertyChangeMask)
        if not self._missing_kinds():
            self.stop()
            self._loop.call_soon_threadsafe(self._succeed, self._seen)

    def _missing_kinds(self) -> set[str]:
        return self._kinds - {window.kind for window in self._seen if window.painted}

    def missing(self) -> str:
        """For people: what each missing kind lacks."""
        return "; ".join(self._lack(kind) for kind in sorted(self._missing_kinds()))

    def _lack(self, kind: str) -> str:
        windows = [window for window in self._seen if window.kind == kind]
        if not windows:
            return f"there is no {kind} window"
        if not any(window.mapped for window in windows):
            return f"the {kind}'s window is not on the screen"
        if all(window.covered > 0.5 for window in windows if window.mapped):
            return f"the {kind}'s window is covered by others"
        return f"the {kind}'s window is not painted yet"
