"""The relay: every byte, both ways, with half-closes, and never more in memory than a slow reader's share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from oriel.keeper.relay import Streams, join


async def streams(sock: socket.socket) -> Streams:
    return await asyncio.open_connection(sock=sock, limit=1 << 20)


@contextlib.asynccontextmanager
async def relayed(before: bytes = b"") -> AsyncIterator[tuple[Streams, Streams, asyncio.Task[None]]]:
    """Two outer ends whose inner ends are joined; `before` was sent by the left one beforehand."""
    (left, inner_left), (right, inner_right) = socket.socketpair(), socket.socketpair()
    inner = await streams(inner_left), await streams(inner_right)
    outer = await streams(left), await streams(right)
    if before:
        outer[0][1].write(before)
        assert await inner[0][0].readexactly(1) == before[:1]
    joining = asyncio.create_task(join(*inner))
    try:
        yield outer[0], outer[1], joining
    finally:
        for _, writer in outer:
            writer.transport.abort()
        async with asyncio.timeout(30):
            await joining


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(timed())


def test_bytes_go_both_ways_and_each_half_close_is_passed_on() -> None:
    async def scenario() -> None:
        async with relayed() as (left, right, joining):
            left[1].write(b"question")
            left[1].write_eof()
            assert await right[0].read() == b"question"
            right[1].write(b"answer after the end of the question")
            right[1].write_eof()
            assert await left[0].read() == b"answer after the end of the question"
            await joining

    run(scenario)


def test_what_was_read_before_the_relay_began_comes_first() -> None:
    async def scenario() -> None:
        async with relayed(before=b"xearly,") as (left, right, _):
            left[1].write(b"late")
            left[1].write_eof()
            assert await right[0].read() == b"early,late"

    run(scenario)


def test_an_end_before_the_relay_began_is_passed_on() -> None:
    async def scenario() -> None:
        (left, inner_left), (right, inner_right) = socket.socketpair(), socket.socketpair()
        left.sendall(b"all there is")
        left.shutdown(socket.SHUT_WR)
        inner = await streams(inner_left)
        while not inner[0].at_eof() and len(await peek(inner[0])) < 12:
            await asyncio.sleep(0)
        joining = asyncio.create_task(join(inner, await streams(inner_right)))
        reader, writer = await streams(right)
        assert await reader.read() == b"all there is"
        writer.close()
        left.close()
        await joining

    async def peek(reader: asyncio.StreamReader) -> bytes:
        return bytes(reader._buffer)  # type: ignore[attr-defined]

    run(scenario)


def test_megabytes_arrive_whole_in_both_directions_at_once() -> None:
    payloads = os.urandom(8 << 20), os.urandom(8 << 20)

    async def scenario() -> None:
        async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        async with relayed() as (left, right, _):
            results = await asyncio.gather(
                right[0].read(), left[0].read(), send(left[1], payloads[0]), send(right[1], payloads[1])
            )
            assert results[0] == payloads[0]
            assert results[1] == payloads[1]

    run(scenario)


def test_a_reader_that_stops_stops_the_sender() -> None:
    async def scenario() -> None:
        async with relayed() as (left, right, _):
            right[1].transport.pause_reading()
            left[1].write(bytes(64 << 20))
            # The kernel's buffers and the relay's fill up within a moment; then nothing moves any more.
            waiting = None
            while waiting != (waiting := left[1].transport.get_write_buffer_size()):
                await asyncio.sleep(0.1)
            assert waiting > 60 << 20

    run(scenario)


@pytest.mark.parametrize("side", [0, 1])
def test_when_one_side_breaks_the_other_does_not_wait(side: int) -> None:
    async def scenario() -> None:
        async with relayed() as (left, right, joining):
            ends = (left, right)
            ends[side][1].write(b"x")
            assert await ends[1 - side][0].read(1) == b"x"
            ends[side][1].transport.abort()
            assert await ends[1 - side][0].read() == b""
            ends[1 - side][1].close()
            await joining

    run(scenario)
