"""Whether the focused program has read all that was sent to it, so that keys may change their meaning.

A program that takes part in _NET_WM_PING (EWMH; GTK, Qt, Chromium) answers in the order of its events.
One that does not (xterm) is looked at from outside: it sleeps, and nothing waits in its sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Any

from agent.display import Display

__all__ = ["focused_has_read"]

PATIENCE_S = 2.0  # a program that has not read by then hangs, or never rests
LOOK_S = 0.01
PIDFD_GETFD = 438  # <asm-generic/unistd.h>: the same on every architecture since Linux 5.6


async def focused_has_read(display: Display) -> bool:
    """Wait until it has; False after PATIENCE_S, or at once if no program can be told to have the focus."""
    ping = _Ping(display)
    try:
        async with asyncio.timeout(PATIENCE_S):
            pid = await display.use(ping.send)
            if pid is None:
                await ping.answered.wait()
                return True
            while pid and not _rests(pid):  # noqa: ASYNC110 - another process tells us nothing by itself
                await asyncio.sleep(LOOK_S)
            return pid > 0
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

    def send(self, display: Any) -> int | None:
        """None: it was asked and will answer. Else the process to look at, 0 if there is none."""
        from Xlib import X
        from Xlib.error import XError
        from Xlib.protocol.event import ClientMessage

        protocols, self._atom = display.get_atom("WM_PROTOCOLS"), display.get_atom("_NET_WM_PING")
        root = display.screen().root

        def words(window: Any, name: str) -> list[int]:
            found = window.get_full_property(display.get_atom(name), X.AnyPropertyType)
            return list(found.value) if found else []

        with contextlib.suppress(XError):  # the window may vanish meanwhile
            active = words(root, "_NET_ACTIVE_WINDOW")
            if not active or not active[0]:
                return 0
            window = display.create_resource_object("window", active[0])
            if self._atom not in words(window, "WM_PROTOCOLS"):
                return next(iter(words(window, "_NET_WM_PID")), 0)
            self._window = window.id
            # The answer is sent to the root, for whoever selects this.
            root.change_attributes(event_mask=X.SubstructureNotifyMask | X.PropertyChangeMask)
            self._display.listen(self)
            data = (32, [self._atom, X.CurrentTime, window.id, 0, 0])
            window.send_event(ClientMessage(window=window, client_type=protocols, data=data))
            return None
        return 0

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "ClientMessage" and event.data[0] == 32:
            words = event.data[1]
            if words[0] == self._atom and words[2] == self._window:
                self._loop.call_soon_threadsafe(self.answered.set)

    def settled(self, display: Any) -> None:
        """Each event was looked at when it came."""

    def lost(self) -> None:
        self._loop.call_soon_threadsafe(self.answered.set)


def _rests(pid: int) -> bool:
    """Whether a process waits with nothing left to read; also True if it has ended."""
    try:
        watched = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return True
    try:
        numbers = [int(name) for name in os.listdir(f"/proc/{pid}/fd")]  # noqa: PTH208 - names are all we need
        return _asleep(pid) and not any(_unread(watched, number) for number in numbers) and _asleep(pid)
    except OSError:
        return True
    finally:
        os.close(watched)


def _asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def _unread(watched: int, number: int) -> bool:
    """Whether bytes wait in another process's descriptor; False for what has no such thing."""
    ours = ctypes.CDLL(None).syscall(PIDFD_GETFD, watched, number, 0)
    if ours < 0:
        return False
    try:
        return bool(struct.unpack("i", fcntl.ioctl(ours, termios.FIONREAD, bytes(4)))[0])
    except OSError:
        return False
    finally:
        os.close(ours)
