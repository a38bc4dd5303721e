"""Copying bytes between two connections with back-pressure, without the stream buffers in between.

The receiving side reads straight into one buffer of its own and hands it to the other's transport;
when that cannot take more, reading stops until it can. A half-close is passed on.
"""

from __future__ import annotations

import asyncio

__all__ = ["Streams", "join"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

BUFFER_BYTES = 1 << 16


async def join(left: Streams, right: Streams) -> None:
    """Copy both ways until both directions ended. What the streams have already read goes first.

    Afterwards, and when cancelled, both connections are closed.
    """
    loop = asyncio.get_running_loop()
    one, other = _Side(loop), _Side(loop)
    one.peer, other.peer = other, one
    transports = [_transport_of(writer) for _, writer in (left, right)]
    try:
        early = [await _read_early(reader, writer) for reader, writer in (left, right)]
        for side, transport in zip((one, other), transports, strict=True):
            side.take_over(transport)
        if any(transport.is_closing() for transport in transports):
            return
        for side, transport, (data, ended) in zip((one, other), transports, early, strict=True):
            side.deliver(data)
            if ended:
                side.eof_received()
            else:
                transport.resume_reading()
        await asyncio.gather(one.closed, other.closed)
    finally:
        for transport in transports:
            transport.abort()


def _transport_of(writer: asyncio.StreamWriter) -> asyncio.Transport:
    assert isinstance(writer.transport, asyncio.Transport)  # noqa: S101 - every socket's is
    return writer.transport


async def _read_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bool]:
    """What a stream has already read, and whether its connection ended there. It is paused afterwards."""
    parts: list[bytes] = []
    while True:
        # Each time anew: reading makes a stream that was full resume its transport.
        _transport_of(writer).pause_reading()
        try:
            async with asyncio.timeout(0):
                part = await reader.read(BUFFER_BYTES)
        except TimeoutError:
            return b"".join(parts), False
        if not part:
            return b"".join(parts), True
        parts.append(part)


class _Side(asyncio.BufferedProtocol):
    """One of two joined connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.peer: _Side
        self.closed: asyncio.Future[None] = loop.create_future()
        self._before: asyncio.BaseProtocol | None = None  # whose waiters learn of the end from us
        self._transport: asyncio.Transport
        self._buffer = bytearray(BUFFER_BYTES)
        self._ended = False

    def take_over(self, transport: asyncio.Transport) -> None:
        """Become the protocol of a connection that another one has served so far."""
        self._transport = transport
        if transport.is_closing():
            # Its end was told to the protocol before us, and will not be told again.
            return
        self._before = transport.get_protocol()
        transport.set_protocol(self)

    def get_buffer(self, _size: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        # A copy, because a transport may keep what it cannot send at once, and our buffer is used again.
        self.deliver(bytes(memoryview(self._buffer)[:count]))

    def deliver(self, data: bytes) -> None:
        """Send to the peer; dropped if that has gone."""
        if data and not self.peer._transport.is_closing():
            self.peer._transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        peer = self.peer
        if not peer._transport.is_closing():
            peer._transport.write_eof()
        if peer._ended:
            peer._transport.close()
            self._transport.close()
        return not peer._ended

    def pause_writing(self) -> None:
        self.peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer._transport.is_closing():
            self.peer._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self._before is not None:
            self._before.connection_lost(error)
        # After an orderly end the peer still gets what is under way; after a reset nothing matters.
        if error is None:
            self.peer._transport.close()
        else:
            self.peer._transport.abort()
