"""Message bodies, read in pieces by their framing, and written anew in ours."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from oriel.egress.channel import Channel
from oriel.egress.head import Body, Framing, HeadError

__all__ = ["LAST_CHUNK", "as_chunk", "read_body"]

MAX_CHUNK_LINE = 1024  # bytes, with the extensions that are dropped
MAX_TRAILERS = 16 << 10
LAST_CHUNK = b"0\r\n\r\n"

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")


def as_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def read_body(channel: Channel, framing: Framing) -> AsyncGenerator[bytes, None]:
    """The pieces of a body, without chunk marks; trailers are dropped.

    ConnectionError if the peer ends before the body does, HeadError if its chunks are malformed.
    """
    if framing.body is Body.LENGTH:
        async for piece in _counted(channel, framing.length):
            yield piece
    elif framing.body is Body.CHUNKED:
        while size := await _chunk_size(channel):
            async for piece in _counted(channel, size):
                yield piece
            if await _line(channel, 2) != b"":
                raise HeadError("a chunk is longer than it says")
        left = MAX_TRAILERS
        while trailer := await _line(channel, left):
            left -= len(trailer) + 2
    elif framing.body is Body.UNTIL_CLOSE:
        while piece := await channel.read():
            yield piece


async def _counted(channel: Channel, count: int) -> AsyncGenerator[bytes, None]:
    while count:
        piece = await channel.read()
        if not piece:
            raise ConnectionResetError("the peer closed in the middle of a body")
        if len(piece) > count:
            channel.unread(piece[count:])
            piece = piece[:count]
        count -= len(piece)
        yield piece


async def _chunk_size(channel: Channel) -> int:
    match = _CHUNK_LINE.match(await _line(channel, MAX_CHUNK_LINE))
    if match is None:
        raise HeadError("a chunk does not begin with its size")
    return int(match[1], 16)


async def _line(channel: Channel, limit: int) -> bytes:
    """Up to CRLF, without it. HeadError for a bare CR or LF or more than `limit` bytes."""
    data = bytearray()
    while True:
        piece = await channel.read()
        if not piece:
            raise ConnectionResetError("the peer closed in the middle of a body")
        data += piece
        end = data.find(b"\n")
        if end >= 0 or len(data) > limit + 2:
            break
    if not 0 < end <= limit + 1 or data[end - 1] != 0x0D or data.find(b"\r", 0, end - 1) >= 0:
        raise HeadError("the body's chunks are malformed")
    channel.unread(bytes(data[end + 1 :]))
    return bytes(data[: end - 1])
