"""Upstreams that fail, each in its own way: handlers for a `TcpServer`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from tests.fakes.server import read_head


def closes(sock: socket.socket) -> None:
    """Without a word, once it has been asked."""
    read_head(sock)


def resets(sock: socket.socket) -> None:
    read_head(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Exactly that, and then nothing more."""

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    return handle


def drips(sock: socket.socket) -> None:
    """An answer that never gets to its end: a byte now and then, for as long as anybody listens."""
    read_head(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    sock.settimeout(0.05)
    while True:
        sock.sendall(b"x")
        try:
            if not sock.recv(65536):
                return
        except TimeoutError:
            continue
