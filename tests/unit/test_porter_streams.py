"""What the porter holds for the slow, the silent and the flooding; whose hands count when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from oriel.model.clipboard import Way
from oriel.porter import screen as module
from oriel.porter.download import Download
from oriel.porter.screen import Hold, Screen

GREETING = b"RFB 003.008\n" + b"\x01" + b"\x01"  # as a viewer: version, no password, shared
KEY = struct.pack(">BBxxI", 4, 1, ord("a"))
DEADLINE_S = 30.0


class Bench:
    """A screen between two sockets of ours."""

    def __init__(self, hold: Hold, answers: bool = True) -> None:
        self.viewer, client = socket.socketpair()
        self.desktop, desktop = socket.socketpair()
        for sock in (self.viewer, client, self.desktop, desktop):
            sock.setblocking(False)
        self.protocol = ClientProtocol(parse_uri("ws://viewer/"), state=OPEN)
        self.asked: list[str] = []
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def ask(what: str) -> bool:
            self.asked.append(what)
            return answers

        self.screen = Screen(
            client, desktop, hold, clipboard=Way.BOTH, ask=ask, on_ended=self.ended.set_result
        )

    async def say(self, data: bytes) -> None:
        """As the viewer."""
        self.protocol.send_binary(data)
        await self.send_raw(b"".join(self.protocol.data_to_send()))

    async def send_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.viewer, data)

    async def heard(self, size: int) -> bytes:
        """As the desktop: so many bytes."""
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.desktop, size - len(data))
        return data

    def close(self) -> None:
        self.screen.end(1000, "")
        for sock in (self.viewer, self.desktop):
            sock.close()


def over(hold: Hold, *, answers: bool = True) -> Callable[..., Callable[[], None]]:
    def decorate(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
        async def run() -> None:
            bench = Bench(hold, answers)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await test(bench)
            finally:
                bench.close()
                await asyncio.wait_for(bench.ended, DEADLINE_S)

        def test_it() -> None:
            asyncio.run(run())

        test_it.__doc__ = test.__doc__
        return test_it

    return decorate


async def fill(sock: socket.socket) -> int:
    """Write until nothing more is taken for many turns of the loop; how much was."""
    taken, idle = 0, 0
    while idle < 50:
        try:
            taken += sock.send(bytes(1 << 16))
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    return taken


@over(Hold.LOOKS)
async def test_for_a_viewer_that_does_not_read_one_piece_is_held(bench: Bench) -> None:
    taken = await fill(bench.desktop)
    # Both sockets' own buffers, and one piece between them.
    assert bench.screen._viewer.waiting <= len(module.SCRATCH) + 10
    assert taken < 8 << 20


@over(Hold.LOOKS)
async def test_whoever_asks_and_does_not_read_is_sent_away(bench: Bench) -> None:
    bench.protocol.send_ping(bytes(125))
    flood = b"".join(bench.protocol.data_to_send()) * 500
    while not bench.ended.done():
        with contextlib.suppress(BlockingIOError, ConnectionError):
            bench.viewer.send(flood)
        await asyncio.sleep(0)
    assert await bench.ended == "left"


@over(Hold.DRIVES)
async def test_a_desktop_that_does_not_read_stops_the_viewer(bench: Bench) -> None:
    await bench.say(GREETING)
    frames = b""
    bench.protocol.send_binary(KEY * 8000)
    frames = b"".join(bench.protocol.data_to_send())
    sent, idle = 0, 0
    while idle < 50:
        try:
            sent += bench.viewer.send(frames)
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    assert bench.screen._in.waiting < 4 << 20
    assert sent < 32 << 20


@over(Hold.ASKS)
async def test_a_key_waits_for_the_answer_and_is_not_lost(bench: Bench) -> None:
    await bench.say(GREETING)
    await bench.say(KEY)
    assert await bench.heard(len(GREETING)) == GREETING
    while not bench.asked:
        await asyncio.sleep(0)
    bench.screen.change(Hold.DRIVES)
    assert await bench.heard(len(KEY)) == KEY


@over(Hold.FREE, answers=False)
async def test_without_a_controller_a_desktop_that_nobody_drives_is_driven(bench: Bench) -> None:
    await bench.say(GREETING)
    await bench.say(KEY)
    assert await bench.heard(len(GREETING + KEY)) == GREETING + KEY


@over(Hold.ASKS, answers=False)
async def test_without_a_controller_nobody_takes_it_from_another(bench: Bench) -> None:
    await bench.say(GREETING)
    await bench.say(KEY)
    update = struct.pack(">BBHHHH", 3, 1, 0, 0, 1, 1)
    await bench.say(update)
    assert await bench.heard(len(GREETING + update)) == GREETING + update


@over(Hold.DRIVES)
async def test_what_is_down_goes_up_when_somebody_else_drives(bench: Bench) -> None:
    await bench.say(GREETING)
    await bench.say(KEY)
    await bench.heard(len(GREETING + KEY))
    bench.screen.change(Hold.ASKS)
    assert await bench.heard(len(KEY)) == KEY[:1] + b"\0" + KEY[2:]


@over(Hold.DRIVES)
async def test_a_message_in_many_frames_is_one(bench: Bench) -> None:
    for part in (Frame(2, GREETING[:5], fin=False), Frame(0, GREETING[5:], fin=True)):
        await bench.send_raw(part.serialize(mask=True))
    assert await bench.heard(len(GREETING)) == GREETING


def test_a_download_holds_one_piece_for_who_does_not_read() -> None:
    async def run() -> None:
        (reader, client), (source, desktop) = socket.socketpair(), socket.socketpair()
        for sock in (reader, client, source, desktop):
            sock.setblocking(False)
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        download = Download(client, desktop, 1 << 30, ended.set_result)
        assert await fill(source) < 8 << 20
        assert download._out.waiting <= 1 << 18
        reader.close()
        assert await asyncio.wait_for(ended, DEADLINE_S) == "left"
        source.close()

    asyncio.run(run())
