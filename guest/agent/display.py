"""The one connection to the X server, in a thread of its own.

A display that hangs, dies or has not come up yet holds nobody but those who wait for it. After a loss the
next use connects anew; listeners are told.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agent.worker import Worker
from oriel.model.errors import UnavailableError

__all__ = ["SOCKETS", "Display", "Listener"]

T = TypeVar("T")
SOCKETS = Path("/tmp/.X11-unix")  # noqa: S108 - X(7): where local clients find a server


class Listener(Protocol):
    """Gets the events of the connection; all three are called in the display's thread."""

    def event(self, event: Any) -> None: ...

    def settled(self, display: Any) -> None:
        """All events that had arrived were handed out."""

    def lost(self) -> None:
        """The connection is gone, with everything made on it."""


class Display(Worker):
    """The server named `name` (":1")."""

    def __init__(self, name: str) -> None:
        super().__init__("display")
        self._display_name = name
        self._x: Any = None
        self._listeners: list[Listener] = []

    @property
    def socket_path(self) -> Path:
        return SOCKETS / f"X{self._display_name.lstrip(':').partition('.')[0]}"

    async def use(self, work: Callable[[Any], T], *, deadline_s: float = 30) -> T:
        """`work(display)` in the thread. UnavailableError if there is no display, or it dies or hangs."""
        return await self.run(lambda: self._guarded(work), deadline_s=deadline_s)

    async def up(self) -> None:
        """Wait, without limit, until the server takes our connection."""
        from agent.arrival import Arrival

        pause = 0.05
        with Arrival(self.socket_path) as arrival:
            while True:
                arrival.forget()
                with contextlib.suppress(UnavailableError):
                    return await self.use(_nothing)
                # The file appears a moment before the server listens on it, and /tmp itself may be
                # mounted anew during the boot: so the event is waited for, but not for ever.
                await arrival.wait(pause)
                pause = min(1.0, pause * 2)

    def listen(self, listener: Listener) -> None:
        """In the thread only."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """In the thread only; nothing if it does not listen."""
        self._listeners = [item for item in self._listeners if item is not listener]

    def stop_listening(self, listener: Listener) -> None:
        """From anywhere, soon."""
        self.post(lambda: self.unlisten(listener))

    def attempt(self, work: Callable[[Any], object]) -> None:
        """In the thread only: `work(display)` if there is a display. Its loss is told to listeners alone."""
        with contextlib.suppress(UnavailableError):
            self._guarded(work)

    def _guarded(self, work: Callable[[Any], T]) -> T:
        from Xlib.error import ConnectionClosedError, DisplayError, XNoAuthError

        try:
            if self._x is None:
                self._x = self._connect()
            result = work(self._x)
            _send_all(self._x)
        except (DisplayError, XNoAuthError, ConnectionClosedError, OSError) as error:
            self._lose()
            raise UnavailableError(
                f"the desktop's display {self._display_name} is not there: {error}",
                hint="xvfb.service starts it again by itself; `journalctl -u xvfb` in the desktop says more",
            ) from error
        self._hand_out()
        return result

    def _connect(self) -> Any:
        from Xlib.display import Display as Connection

        os.environ.setdefault("HOME", "/root")  # Xlib looks for ~/.Xauthority
        # "unix/": else Xlib would try TCP on this host when the socket refuses.
        x = Connection(f"unix/{self._display_name}")
        # An error without a reply has nobody to tell: a window may vanish between two requests.
        x.set_error_handler(lambda _error, _request: None)
        return x

    def idle(self, wake: int) -> None:
        """Hand out events until there is a job."""
        while True:
            if self._x is not None:
                with contextlib.suppress(UnavailableError):
                    self._guarded(_nothing)
            watched = [wake] if self._x is None else [wake, self._x.display.socket.fileno()]
            if wake in select.select(watched, [], [])[0]:
                return

    def _hand_out(self) -> None:
        """Give every event that has arrived to the listeners. Never raises for a lost connection."""
        from Xlib.error import ConnectionClosedError

        try:
            # Until there are none: those that come in while a listener asks X wake no select() later.
            while self._x.pending_events():
                while self._x.pending_events():
                    event = self._x.next_event()
                    for listener in list(self._listeners):
                        listener.event(event)
                for listener in list(self._listeners):
                    listener.settled(self._x)
                _send_all(self._x)
        except (ConnectionClosedError, OSError):
            self._lose()

    def _lose(self) -> None:
        x, self._x = self._x, None
        if x is not None:
            with contextlib.suppress(OSError):
                x.display.socket.close()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.lost()


def _send_all(x: Any) -> None:
    """Xlib's own flush returns after the first part when the socket is full, and nobody sends the rest."""
    x.flush()
    while x.display.data_send:
        select.select([], [x.display.socket], [])
        x.flush()


def _nothing(_display: Any) -> None:
    """Only to connect, or to hand out events."""
