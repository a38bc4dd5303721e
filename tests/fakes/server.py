"""A TCP server in threads: each connection is handed to a function, and everything ends with the `with`."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Handle = Callable[[socket.socket], None]


class TcpServer:
    """Listens on `address` (port 0: any). `handle` owns its connection until it returns."""

    def __init__(self, handle: Handle, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self._handle = handle
        self.socket = socket.create_server((address, port), backlog=512)
        self.address: str = address
        self.port: int = self.socket.getsockname()[1]
        self.tls: ssl.SSLContext | None = None
        self.accepted = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = False

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        self.socket.close()
        assert not any(thread.is_alive() for thread in self._threads), "a fake server's thread hangs"

    def drop_connections(self) -> None:
        """Close every open connection, and go on accepting. Returns once they are closed."""
        with self._lock:
            connections, threads = list(self._open), list(self._threads[1:])
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=10)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"fake-{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._threads = [t for t in self._threads if t.is_alive()]
            self._start(functools.partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        final = connection
        try:
            if self.tls is not None:
                connection.settimeout(10)
                final = self.tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(connection)
                    self._open.add(final)
                final.settimeout(None)
            self._handle(final)
        except (OSError, EOFError):
            pass  # the other side is allowed to do anything
        finally:
            with self._lock:
                self._open.discard(final)
                self._open.discard(connection)
            final.close()
            connection.close()


def read_head(sock: socket.socket, limit: int = 1 << 16) -> tuple[bytes, bytes]:
    """Up to and with the first empty line, and what came after it. EOFError at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece or len(data) > limit:
            raise EOFError
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def relay(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until both directions ended; half-closes are passed on."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 18):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(right, left), daemon=True)
    back.start()
    pump(left, right)
    back.join()
