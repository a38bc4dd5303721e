"""A session in the porter: nothing piles up, nothing is lost between two controllers, pings are answered."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from oriel.porter.session import BURST, MAX_TEXT, VIEWER, Session

DEADLINE_S = 30.0


class Bench:
    """A session between a viewer and one end called `guest`; `there`: whether a controller listens."""

    def __init__(self) -> None:
        self.viewer, client = socket.socketpair()
        self.guest, guest = socket.socketpair()
        for sock in (self.viewer, client, self.guest, guest):
            sock.setblocking(False)
        self.protocol = ClientProtocol(parse_uri("ws://viewer/"), state=OPEN)
        self.frames: list[Frame] = []
        self.there = True
        self.told: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.session = Session(client, tell=self._tell, on_ended=self.ended.set_result)
        self.session.attach("guest", guest)

    def _tell(self, name: str, text: str | None) -> bool:
        if self.there:
            self.told.put_nowait((name, text))
        return self.there

    def controller_dies(self) -> None:
        self.there = False
        self.session.left()

    def controller_comes(self) -> None:
        self.there = True
        self.session.met()

    async def say(self, *texts: str) -> None:
        """As the viewer, all at once."""
        for text in texts:
            self.protocol.send_text(text.encode())
        data = b"".join(self.protocol.data_to_send())
        await asyncio.get_running_loop().sock_sendall(self.viewer, data)

    async def heard(self, opcode: Opcode = Opcode.TEXT) -> bytes:
        """By the viewer: the next frame of that kind."""
        while True:
            self.frames += [one for one in self.protocol.events_received() if isinstance(one, Frame)]
            for frame in self.frames:
                if frame.opcode is opcode:
                    self.frames.remove(frame)
                    return bytes(frame.data)
            self.protocol.receive_data(await asyncio.get_running_loop().sock_recv(self.viewer, 1 << 16))

    async def settle(self) -> None:
        """Until whatever has been sent was looked at: a ping of the protocol comes back."""
        self.protocol.send_ping(b"settled")
        await self.say()
        while await self.heard(Opcode.PONG) != b"settled":
            continue


def over(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    async def run() -> None:
        bench = Bench()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(bench)
        finally:
            bench.session.end(1000, "")
            bench.viewer.close()
            bench.guest.close()
            await asyncio.wait_for(bench.ended, DEADLINE_S)

    def test_it() -> None:
        asyncio.run(run())

    test_it.__doc__ = test.__doc__
    return test_it


@over
async def test_each_end_says_one_thing_at_a_time(bench: Bench) -> None:
    bench.guest.send(b"one\ntwo\nthr")
    assert await bench.told.get() == ("guest", "one")
    await bench.say("a", "b")
    assert await bench.told.get() == (VIEWER, "a")
    await bench.settle()
    assert bench.told.empty()
    bench.session.dealt_with("guest")
    assert bench.told.get_nowait() == ("guest", "two")
    bench.session.dealt_with(VIEWER)
    assert bench.told.get_nowait() == (VIEWER, "b")
    bench.session.dealt_with("guest")
    bench.guest.send(b"ee\n")
    assert await bench.told.get() == ("guest", "three")


@over
async def test_what_a_controller_died_over_is_told_to_the_next(bench: Bench) -> None:
    await bench.say("answer")
    bench.guest.send(b"offer\n")
    assert {await bench.told.get(), await bench.told.get()} == {(VIEWER, "answer"), ("guest", "offer")}
    bench.controller_dies()
    await bench.say('{"type":"ping","id":3}', "later", '{"type":"ping","id":4}')
    assert json.loads(await bench.heard()) == {"type": "pong", "id": 3}
    assert json.loads(await bench.heard()) == {"type": "pong", "id": 4}
    bench.controller_comes()
    assert {bench.told.get_nowait(), bench.told.get_nowait()} == {(VIEWER, "answer"), ("guest", "offer")}
    bench.session.dealt_with(VIEWER)
    assert bench.told.get_nowait() == (VIEWER, "later")


@over
async def test_a_ping_that_a_controller_died_over_is_answered(bench: Bench) -> None:
    await bench.say('{"type":"ping","id":9}')
    await bench.told.get()
    bench.controller_dies()
    assert json.loads(await bench.heard()) == {"type": "pong", "id": 9}
    bench.controller_comes()
    assert bench.told.empty()


@over
async def test_an_end_that_goes_is_told_after_what_it_said(bench: Bench) -> None:
    bench.guest.send(b"last\n")
    bench.guest.shutdown(socket.SHUT_WR)
    assert await bench.told.get() == ("guest", "last")
    bench.session.dealt_with("guest")
    assert await bench.told.get() == ("guest", None)
    bench.session.detach("guest")
    assert bench.session.ends == []


@over
async def test_a_line_without_an_end_is_an_end(bench: Bench) -> None:
    left = memoryview(b"x" * (4 * MAX_TEXT))
    while bench.told.empty():
        try:
            left = left[bench.guest.send(left) :]
        except (BlockingIOError, BrokenPipeError):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert bench.told.get_nowait() == ("guest", None)


@over
async def test_a_flood_is_sent_away_with_or_without_a_controller(bench: Bench) -> None:
    bench.controller_dies()
    await bench.say(*["x"] * (BURST + 50))
    assert await bench.ended == "busy"


@over
async def test_bytes_where_text_belongs_are_sent_away(bench: Bench) -> None:
    bench.protocol.send_binary(b"x")
    await bench.say()
    code = int.from_bytes((await bench.heard(Opcode.CLOSE))[:2], "big")
    assert code == 1003
