"""Writing to a socket that may be slow: what it does not take at once waits, and whoever feeds it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

__all__ = ["Outlet"]


class Outlet:
    """`on_free` is called each time when what waited has gone; `on_broken` when the other side has."""

    def __init__(
        self, sock: socket.socket, on_free: Callable[[], None], on_broken: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._on_free = on_free
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes that have not gone yet."""
        return len(self._waiting)

    def send(self, *parts: bytes | memoryview) -> None:
        """What cannot go now is copied: the caller's buffers are its own again afterwards."""
        if self._waiting:
            for part in parts:
                self._waiting += part
            return
        try:
            sent = self._sock.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._on_broken()
            return
        for part in parts:
            if sent < len(part):
                self._waiting += part[sent:]
            sent = max(0, sent - len(part))
        if self._waiting:
            self._loop.add_writer(self._sock, self._flush)

    def close(self) -> None:
        """Nothing more is sent. The socket is the caller's to close."""
        self._loop.remove_writer(self._sock)

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:
            self._loop.remove_writer(self._sock)
            self._on_broken()
            return
        del self._waiting[:sent]
        if not self._waiting:
            self._loop.remove_writer(self._sock)
            self._on_free()
