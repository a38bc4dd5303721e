"""Whether the focused program has read all that was sent to it, so that keys may change their meaning.

A program that takes part in _NET_WM_PING (EWMH; GTK, Qt, Chromium) answers in the order of its events.
Some do not (xterm), and some have a second connection to the display, whose events nobody answers for
(Chromium's input method). So a program is also looked at from outside: it sleeps, and nothing waits in its
sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import termios
from pathlib import Path
from typing import Any

from agent.display import Display

__all__ = ["focused_has_read"]

PATIENCE_S = 2.0  # a program that has not read by then hangs, or never rests
LOOK_S = 0.01
PIDFD_GETFD = 438  # <asm-generic/unistd.h>: the same on every architecture since Linux 5.6


async def focused_has_read(display: Display) -> bool:
    """Wait until it has; False after PATIENCE_S, or at once if no program is known to have the focus."""
    ping = _Ping(display)
    try:
        async with asyncio.timeout(PATIENCE_S):
            pid = await display.use(ping.send)
            await ping.answered.wait()
            return pid > 0 and await _come_to_rest(display, pid)
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

    def send(self, display: Any) -> int:
        """Ask, if it can answer; the focused program's process, 0 if there is none."""
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
                self.lost()
                return 0
            window = display.create_resource_object("window", active[0])
            pid = next(iter(words(window, "_NET_WM_PID")), 0)
            if self._atom not in words(window, "WM_PROTOCOLS"):
                self.lost()
                return pid
            self._window = window.id
            # The answer is sent to the root, for whoever selects this.
            root.change_attributes(event_mask=X.SubstructureNotifyMask | X.PropertyChangeMask)
            self._display.listen(self)
            data = (32, [self._atom, X.CurrentTime, window.id, 0, 0])
            window.send_event(ClientMessage(window=window, client_type=protocols, data=data))
            return pid
        self.lost()
        return 0

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "ClientMessage" and event.data[0] == 32:
            words = event.data[1]
            if words[0] == self._atom and words[2] == self._window:
                self._loop.call_soon_threadsafe(self.answered.set)

    def settled(self, display: Any) -> None:
        """Each event was looked at when it came."""

    def lost(self) -> None:
        """Nobody will answer."""
        self._loop.call_soon_threadsafe(self.answered.set)


async def _come_to_rest(display: Display, pid: int) -> bool:
    """Until a process sleeps with nothing left to read, and the display had no answer for it either."""
    before = None
    while True:
        now = _rest(pid, display.socket_path)
        if now is not None and now == before:
            return True
        before = now
        # A program that waits for an answer of the display sleeps too. Here it gets it, and so it runs.
        await display.use(lambda x: x.sync())
        await asyncio.sleep(LOOK_S)


def _rest(pid: int, server: Path) -> str | None:
    """How often a sleeping process with nothing to read has slept; None if it runs, "" if it has ended."""
    try:
        watched = os.pidfd_open(pid)
    except OSError:
        return ""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        if "State:\tS" not in status or _unread(pid, watched, server):
            return None
        return status[status.index("voluntary_ctxt_switches") :]
    except OSError:
        return ""
    finally:
        os.close(watched)


def _unread(pid: int, watched: int, server: Path) -> bool:
    """Whether the display has told the process something that it did not read yet."""
    getfd = ctypes.CDLL(None).syscall
    for entry in os.scandir(f"/proc/{pid}/fd"):
        if not str(Path(entry.path).readlink()).startswith("socket:"):
            continue
        ours = getfd(PIDFD_GETFD, watched, int(entry.name), 0)
        if ours < 0:
            continue  # closed meanwhile
        with socket.socket(fileno=ours) as theirs:
            waiting = fcntl.ioctl(ours, termios.FIONREAD, bytes(4)) if _leads_to(theirs, server) else bytes(4)
            if any(waiting):
                return True
    return False


def _leads_to(sock: socket.socket, server: Path) -> bool:
    if sock.family != socket.AF_UNIX:
        return False
    try:
        peer = sock.getpeername()
    except OSError:
        return False
    name = peer if isinstance(peer, str) else os.fsdecode(peer)
    return name.lstrip("\0") == str(server)  # servers listen on the file and on an abstract name
