"""A byte channel over a non-blocking socket, with or without TLS, read by pieces or by head."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

__all__ = [
    "Channel",
    "HeadTooLargeError",
    "SocketChannel",
    "TlsChannel",
    "read_exactly",
    "read_head",
    "reset",
]

PIECE = 64 << 10


class HeadTooLargeError(ValueError):
    """No end of the head within the limit."""


class Channel(Protocol):
    """What a conversation needs of a connection. After any OSError only `abort` is of use."""

    async def read(self) -> bytes:
        """The next bytes, at most PIECE; b"" at the end."""
        ...

    def unread(self, data: bytes) -> None:
        """Put `data` back in front of what is still to be read."""
        ...

    async def write(self, data: bytes | bytearray | memoryview) -> None: ...

    async def write_eof(self) -> None: ...

    def quiet(self) -> bool:
        """Whether the peer has neither sent anything unread nor closed."""
        ...

    def close(self) -> None:
        """Close; what was written is still sent. Idempotent."""
        ...

    def abort(self) -> None:
        """Close at once; what was not sent yet is dropped. Idempotent."""
        ...


async def read_head(channel: Channel, limit: int) -> bytes:
    """Up to and with the first empty line; b"" if the peer closed before the first byte.

    What follows stays in the channel. HeadTooLargeError over `limit`, ConnectionError if the peer
    closes inside.
    """
    data = bytearray()
    while True:
        piece = await channel.read()
        if not piece:
            if data:
                raise ConnectionResetError("the peer closed in the middle of a head")
            return b""
        start = max(0, len(data) - 3)
        data += piece
        end = data.find(b"\r\n\r\n", start)
        if 0 <= end <= limit:
            channel.unread(bytes(data[end + 4 :]))
            return bytes(data[: end + 4])
        if end > limit or len(data) > limit:
            raise HeadTooLargeError


async def read_exactly(channel: Channel, count: int) -> bytes:
    """`count` bytes. ConnectionError if the peer closes before."""
    data = bytearray()
    while len(data) < count:
        piece = await channel.read()
        if not piece:
            raise ConnectionResetError("the peer closed too early")
        data += piece
    channel.unread(bytes(data[count:]))
    return bytes(data[:count])


def reset(sock: socket.socket) -> None:
    """Close with RST: nothing that is still in the kernel's buffers is sent any more."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class SocketChannel:
    """A plain TCP connection."""

    __slots__ = ("_loop", "_unread", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._unread = b""

    async def read(self) -> bytes:
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        return await self._loop.sock_recv(self.sock, PIECE)

    def unread(self, data: bytes) -> None:
        self._unread = data + self._unread

    def take_unread(self) -> bytes:
        """What was read too far, for whoever goes on with the bare socket."""
        data, self._unread = self._unread, b""
        return data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def write_eof(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def quiet(self) -> bool:
        if self._unread:
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._forget()
        self.sock.close()

    def abort(self) -> None:
        self._forget()
        reset(self.sock)

    def _forget(self) -> None:
        # Whoever still waits on the descriptor is cancelled by its owner; its number may be reused at once.
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)


class TlsChannel:
    """TLS as a client over another channel (a socket, or a tunnel through a proxy)."""

    __slots__ = ("_below", "_incoming", "_object", "_outgoing", "_unread", "_writing")

    def __init__(self, below: Channel, context: ssl.SSLContext, server_name: str) -> None:
        import ssl

        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._unread = b""
        self._writing = asyncio.Lock()

    async def handshake(self) -> None:
        """Raises ssl.SSLError (certificate, protocol) or OSError."""
        import ssl

        while True:
            try:
                self._object.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
        await self._flush()

    async def read(self) -> bytes:
        import ssl

        if self._unread:
            data, self._unread = self._unread, b""
            return data
        while True:
            try:
                return self._object.read(PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Many peers close without TLS's notice; what is inside says itself where it ends.
                return b""

    def unread(self, data: bytes) -> None:
        self._unread = data + self._unread

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._object.write(view[start : start + PIECE])
            await self._flush()

    async def write_eof(self) -> None:
        """Nothing is sent: most peers take TLS's closing notice for the end of both directions."""

    def quiet(self) -> bool:
        waiting = self._unread or self._object.pending() or self._incoming.pending
        return not waiting and self._below.quiet()

    def close(self) -> None:
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    async def _flush(self) -> None:
        # One writer at a time, or records would overtake each other on the wire.
        async with self._writing:
            while data := self._outgoing.read():
                await self._below.write(data)

    async def _feed(self) -> None:
        data = await self._below.read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
