"""A viewer's session: its WebSocket, and the two ends of its live view, kept while controllers come and go.

What comes is told to the controller one by one: the next of an end only when the former was dealt with. So
nothing piles up, and nothing is lost with a controller that dies over it. Nothing is understood here but a
viewer's `ping`: without a controller it is answered here, for the viewer to know that the connection lives.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic

from oriel.porter.outlet import Outlet
from oriel.porter.websocket import WebSocketEnd

__all__ = ["MAX_TEXT", "VIEWER", "Budget", "Session"]

VIEWER = "viewer"
MAX_TEXT = 64 << 10  # bytes of a viewer's message, or of a line of the others
MESSAGES_A_SECOND, BURST = 20, 100
MOST_WAITING = 1 << 20  # bytes that an end does not take

# Called with the name of an end and what it said, None if it has gone; False if there is no controller.
Tell = Callable[[str, str | None], bool]


class Budget:
    """How much a viewer may say."""

    def __init__(self) -> None:
        self._left, self._at = float(BURST), monotonic()

    def spend(self) -> bool:
        """One message; False if that is too many."""
        now = monotonic()
        self._left = min(BURST, self._left + (now - self._at) * MESSAGES_A_SECOND) - 1
        self._at = now
        return self._left >= 0


class Session:
    """Begins at once; `attach` gives it more ends, by names that are never used again."""

    kind = "session"

    def __init__(self, client: socket.socket, *, tell: Tell, on_ended: Callable[[str], None]) -> None:
        self.bytes_in, self.bytes_out = 0, 0
        self._tell = tell
        self._on_ended = on_ended
        self._outcome = "left"
        self._ending = False
        self._attended = True
        self._budget = Budget()
        self._ends: dict[str, _Lines] = {}
        self._said: dict[str, deque[str | None]] = {VIEWER: deque()}
        self._viewer = WebSocketEnd(
            client, text=True, on_message=self._from_viewer, on_free=lambda: None, on_ended=self._ended
        )  # fmt: skip

    @property
    def ends(self) -> list[str]:
        """The names of all but the viewer."""
        return list(self._ends)

    # --- what the controller says

    def attach(self, name: str, sock: socket.socket) -> None:
        self._said[name] = deque()
        self._ends[name] = _Lines(sock, lambda line: self._heard(name, line))

    def detach(self, name: str) -> None:
        if (end := self._ends.pop(name, None)) is not None:
            del self._said[name]
            end.close()

    def say(self, name: str, text: str) -> None:
        """To one of the ends."""
        if name == VIEWER:
            self._to_viewer(text)
        elif (end := self._ends.get(name)) is not None:
            end.send(text)

    def dealt_with(self, name: str) -> None:
        """With the last that was told of this end."""
        if not (said := self._said.get(name)):
            return
        said.popleft()
        if said:
            self._offer(name)
        elif name != VIEWER:
            self._ends[name].next()

    def met(self) -> None:
        """A controller is there: it learns what no other has dealt with."""
        self._attended = True
        for name in list(self._said):
            self._offer(name)

    def left(self) -> None:
        """There is none any more."""
        self._attended = False
        said = self._said[VIEWER]
        self._said[VIEWER] = deque(text for text in said if not self._answered(text))

    def end(self, code: int, reason: str) -> None:
        if not self._ending:
            self._ending, self._outcome = True, reason or "ok"
            self._viewer.close(code, reason)

    # --- what comes

    def _from_viewer(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if not self._budget.spend():
            self.end(4429, "busy")
        elif len(data) > MAX_TEXT:
            self.end(4422, "invalid")
        else:
            self._heard(VIEWER, data.decode(errors="replace"))

    def _heard(self, name: str, text: str | None) -> None:
        if not self._attended and name == VIEWER and self._answered(text):
            return
        said = self._said[name]
        said.append(text)
        if len(said) == 1 and self._attended:
            self._offer(name)
        elif name == VIEWER and len(said) > BURST:
            self.end(4429, "busy")

    def _offer(self, name: str) -> None:
        said = self._said.get(name)
        if said and not self._tell(name, said[0]):
            self.left()

    def _answered(self, text: str | None) -> bool:
        pong = _pong_to(text or "")
        if pong:
            self._to_viewer(pong)
        return bool(pong)

    def _to_viewer(self, text: str) -> None:
        data = text.encode(errors="replace")
        self.bytes_out += len(data)
        self._viewer.send(data)
        if self._viewer.waiting > MOST_WAITING:
            self.end(4429, "busy")

    def _ended(self) -> None:
        self._ending = True
        for name in list(self._ends):
            self.detach(name)
        self._on_ended(self._outcome)


class _Lines:
    """Lines both ways on a bare socket. `on_line` for one, None at the end; after it none before `next`."""

    def __init__(self, sock: socket.socket, on_line: Callable[[str | None], None]) -> None:
        self._sock = sock
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._out = Outlet(sock, lambda: None, self._gone)
        self._over = False
        self._loop.add_reader(sock, self._read)

    def send(self, text: str) -> None:
        if self._sock.fileno() < 0:
            return
        self._out.send(text.encode(errors="replace") + b"\n")
        if self._out.waiting > MOST_WAITING:
            self._gone()

    def next(self) -> None:
        if self._over or self._found():
            return
        self._loop.add_reader(self._sock, self._read)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._out.close()
            self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(MAX_TEXT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._buffer += data
        if not data or (not self._found() and len(self._buffer) > MAX_TEXT):
            self._gone()

    def _found(self) -> bool:
        """Whether there was a whole line; it is told then."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return False
        self._buffer = rest
        self._loop.remove_reader(self._sock)
        self._on_line(line.decode(errors="replace"))
        return True

    def _gone(self) -> None:
        if self._over:
            return
        self._over = True
        self.close()
        self._on_line(None)


def _pong_to(text: str) -> str:
    """What a `ping` is answered with; nothing for what is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    match message:
        case {"type": "ping", "id": int(number)}:
            return json.dumps({"type": "pong", "id": number}, separators=(",", ":"))
    return ""
