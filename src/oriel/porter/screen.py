"""One viewer's screen: RFB from the desktop into a WebSocket, and back what the guard lets through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import StrEnum
from time import monotonic

from oriel.model.clipboard import Way
from oriel.model.errors import ForbiddenError, WireError
from oriel.porter.outlet import Outlet
from oriel.porter.rfb import Hands, RfbGuard
from oriel.porter.websocket import WebSocketEnd

__all__ = ["Hold", "Screen"]

# Shared by all: what a slow viewer has not taken is copied, and nothing more is read for it before it has.
SCRATCH = bytearray(1 << 18)
USED_S = 1.0
REFUSED_S = 0.25
ANSWER_S = 1.0


class Hold(StrEnum):
    """What a viewer's hands do, as the controller last said."""

    DRIVES = "drives"
    FREE = "free"  # nobody drives: the pointer moves, a key asks
    ASKS = "asks"  # somebody else does: a key asks
    LOOKS = "looks"


class Screen(Hands):
    """Begins at once. `ask`: tells the controller that the viewer `wants` to drive, or has `used` that;
    False if there is none. Then whoever drives goes on, and where nobody did anyone may.
    """

    kind = "screen"

    def __init__(
        self,
        client: socket.socket,
        desktop: socket.socket,
        hold: Hold,
        *,
        clipboard: Way,
        ask: Callable[[str], bool],
        on_ended: Callable[[str], None],
    ) -> None:
        self.bytes_in, self.bytes_out = 0, 0
        self.hold = hold
        self._ask = ask
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._desktop = desktop
        self._outcome = "left"
        self._ending = False
        self._told_at = self._refused_at = float("-inf")
        self._asked: asyncio.TimerHandle | None = None
        self._guard = RfbGuard(self, clipboard)
        self._in = Outlet(desktop, self._unblock, self._desktop_gone)
        self._viewer = WebSocketEnd(
            client, on_message=self._from_viewer, on_free=self._listen, on_ended=self._ended
        )
        self._listen()

    # --- whose hands count

    def drive(self) -> bool | None:
        if self.hold is Hold.LOOKS:
            return False
        if self.hold is Hold.DRIVES:
            self._used()
            return True
        if self._asked is not None:
            return None
        if monotonic() - self._refused_at < REFUSED_S:
            return False
        if not self._ask("wants"):
            return self.hold is Hold.FREE
        self._asked = self._loop.call_later(ANSWER_S, self.refuse)
        return None

    def move(self) -> bool:
        if self.hold is Hold.DRIVES:
            self._used()
        return self.hold in (Hold.DRIVES, Hold.FREE)

    def change(self, hold: Hold) -> None:
        """The controller says so; an answer to a question too."""
        if self.hold is Hold.DRIVES and hold is not Hold.DRIVES:
            self.release()
        self.hold = hold
        if hold is Hold.DRIVES:
            self._answered()

    def refuse(self) -> None:
        """Somebody else drives, or nobody answers."""
        self._refused_at = monotonic()
        self._answered()

    def release(self) -> None:
        """Let go of what is down."""
        if released := self._guard.release():
            self._in.send(released)

    def _answered(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
            self._from_viewer(b"")

    def _used(self) -> None:
        if monotonic() - self._told_at > USED_S and self._ask("used"):
            self._told_at = monotonic()

    # --- bytes

    def end(self, code: int, reason: str) -> None:
        if self._ending:
            return
        self._ending, self._outcome = True, reason or "ok"
        self._loop.remove_reader(self._desktop)
        self._viewer.close(code, reason)

    def _listen(self) -> None:
        if not self._ending:
            self._loop.add_reader(self._desktop, self._from_desktop)

    def _from_desktop(self) -> None:
        try:
            count = self._desktop.recv_into(SCRATCH)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._desktop_gone()
            return
        self.bytes_out += count
        try:
            told = self._guard.told(memoryview(SCRATCH)[:count])
        except WireError as error:
            self.end(4502, error.code)
            return
        if told:
            self._viewer.send(memoryview(told))
        if self._viewer.waiting:
            self._loop.remove_reader(self._desktop)

    def _from_viewer(self, data: bytes) -> None:
        self.bytes_in += len(data)
        try:
            passed = self._guard.feed(data)
        except (ForbiddenError, WireError) as error:
            self.end(4403 if isinstance(error, ForbiddenError) else 4502, error.code)
            return
        if passed:
            self._in.send(passed)
        self._viewer.read(not self._in.waiting and self._asked is None)

    def _unblock(self) -> None:
        self._viewer.read(self._asked is None)

    def _desktop_gone(self) -> None:
        self.end(1000, "")

    def _ended(self) -> None:
        self._ending = True
        if self._asked is not None:
            self._asked.cancel()
        self._loop.remove_reader(self._desktop)
        # A connection that ends must not leave a key down in the desktop.
        self.release()
        self._in.close()
        self._desktop.close()
        self._on_ended(self._outcome)
