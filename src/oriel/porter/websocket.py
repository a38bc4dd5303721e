"""A WebSocket whose handshake somebody else has made, on a bare socket (RFC 6455, by the library websockets).

What we send is written here: a frame of ours is a head of 2 to 10 bytes and the bytes as they are.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from oriel.porter.outlet import Outlet

__all__ = ["WebSocketEnd"]

PING_S = 20.0  # a viewer that vanished is noticed within two of them
CLOSE_S = 1.0  # for its answer to a close
PIECE = 1 << 16
MAX_MESSAGE = 2 << 20
MOST_WAITING = 1 << 20  # of answers to one who asks and does not read


class WebSocketEnd:
    """`on_message` for each message; `on_free` when what waited has gone; `on_ended` once.

    All messages are binary, or all are `text`; whoever sends the other kind is sent away.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: Callable[[bytes], None],
        on_free: Callable[[], None],
        on_ended: Callable[[], None],
        text: bool = False,
    ) -> None:
        self._sock = sock
        self._on_message = on_message
        self._opcode = Opcode.TEXT if text else Opcode.BINARY
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(state=OPEN, max_size=MAX_MESSAGE)
        self._out = Outlet(sock, on_free, self._broken)
        self._parts: list[bytes] = []
        self._over = False
        self._heard_at = monotonic()
        self._timer = self._loop.call_later(PING_S, self._ping)
        self._reading = True
        self._loop.add_reader(sock, self._read)

    @property
    def waiting(self) -> int:
        return self._out.waiting

    def send(self, data: bytes | memoryview) -> None:
        """One message."""
        size, first = len(data), 0x80 | self._opcode
        if size < 126:
            head = struct.pack("!BB", first, size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, 126, size)
        else:
            head = struct.pack("!BBQ", first, 127, size)
        self._out.send(head, data)

    def read(self, on: bool) -> None:
        """Whether to hear what the viewer says."""
        if self._over or on is self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._sock, self._read)
        else:
            self._loop.remove_reader(self._sock)

    def close(self, code: int, reason: str) -> None:
        """Say why, give it a moment to agree, then end."""
        if self._over or self._protocol.state is not OPEN:
            return
        self._protocol.send_close(code, reason[:120])
        self._send_control()
        if not self._over:
            self.read(True)
            self._timer.cancel()
            self._timer = self._loop.call_later(CLOSE_S, self._broken)

    def _read(self) -> None:
        try:
            data = self._sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._broken()
            return
        self._heard_at = monotonic()
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._send_control()
        if self._protocol.close_expected() or self._out.waiting > MOST_WAITING:
            self._broken()

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT) or self._protocol.state is not OPEN:
            return
        if frame.opcode not in (self._opcode, Opcode.CONT):
            self.close(1003, f"only {self._opcode.name.lower()} messages")
            return
        self._parts.append(bytes(frame.data))
        if frame.fin:
            message, self._parts = b"".join(self._parts), []
            self._on_message(message)

    def _send_control(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self._out.send(data)

    def _ping(self) -> None:
        if monotonic() - self._heard_at > 2 * PING_S and self._reading:
            self._broken()
            return
        self._timer = self._loop.call_later(PING_S, self._ping)
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"")
            self._send_control()

    def _broken(self) -> None:
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._out.close()
        self._sock.close()
        self._on_ended()
