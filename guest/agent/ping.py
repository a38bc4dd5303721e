"""Asking the focused program whether it has read all that was sent to it (_NET_WM_PING, EWMH)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from agent.display import Display

__all__ = ["ping_focused"]

PATIENCE_S = 2.0  # a program that does not answer by then hangs, and reads nothing anyway


async def ping_focused(display: Display) -> bool:
    """Whether the focused program answered. One that cannot is not waited for, others PATIENCE_S."""
    ping = _Ping(display)
    try:
        if not await display.use(ping.send):
            return False
        async with asyncio.timeout(PATIENCE_S):
            await ping.answered.wait()
        return True
    except TimeoutError:
        return False
    finally:
        display.stop_listening(ping)


class _Ping:
    def __init__(self, display: Display) -> None:
        self._display = display
        self._loop = asyncio.get_running_loop()
        self.answered = asyncio.Event()
        self._window = 0
        self._atom = 0

    def send(self, display: Any) -> bool:
        from Xlib import X
        from Xlib.error import XError
        from Xlib.protocol.event import ClientMessage

        protocols, self._atom = display.get_atom("WM_PROTOCOLS"), display.get_atom("_NET_WM_PING")
        root = display.screen().root
        with contextlib.suppress(XError):
            active = root.get_full_property(display.get_atom("_NET_ACTIVE_WINDOW"), X.AnyPropertyType)
            if not active or not active.value or not active.value[0]:
                return False
            window = display.create_resource_object("window", active.value[0])
            offered = window.get_full_property(protocols, X.AnyPropertyType)
            if not offered or self._atom not in offered.value:
                return False
            self._window = window.id
            # The answer is sent to the root, for whoever selects this.
            root.change_attributes(event_mask=X.SubstructureNotifyMask | X.PropertyChangeMask)
            self._display.listen(self)
            stamp = 1 << 30  # any number that comes back
            message = ClientMessage(
                window=window, client_type=protocols, data=(32, [self._atom, stamp, window.id, 0, 0])
            )
            window.send_event(message)
            return True
        return False

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "ClientMessage" and event.data[0] == 32:
            words = event.data[1]
            if words[0] == self._atom and words[2] == self._window:
                self._loop.call_soon_threadsafe(self.answered.set)

    def settled(self, display: Any) -> None:
        """Each event was looked at when it came."""

    def lost(self) -> None:
        self._loop.call_soon_threadsafe(self.answered.set)
