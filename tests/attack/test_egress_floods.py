"""Slow, endless and many: bounded. And a policy that is tightened under load holds at once."""

from __future__ import annotations

import asyncio
import functools
import random
import re
import socket
import struct
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.egress import explicit
from oriel.egress.explicit import serve_explicit
from oriel.egress.flow import Flow
from oriel.egress.gateway import Gateway
from oriel.egress.listener import listen_tcp
from oriel.egress.resolver import Resolver
from oriel.egress.target import Address, Target
from oriel.model.egress import EgressMode, EgressSpec, Policy
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.guest import guest
from tests.fakes.origin import Origin

pytestmark = pytest.mark.anyio


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:  # the host can reach it
            assert answer.status == 200
        server.seen.clear()
        server.accepted = 0
        yield server


@pytest.fixture
async def direct() -> AsyncIterator[RunningGateway]:
    """A gateway that goes out by the host's own address."""
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT))
        yield gateway


def in_process(resolver: Resolver, *allowed: str) -> tuple[Gateway, list[dict[str, object]]]:
    events: list[dict[str, object]] = []
    gateway = Gateway(events.append)
    gateway.resolver = resolver
    gateway.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=allowed))
    return gateway, events


async def test_slow_heads_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explicit, "FIRST_HEAD_S", 0.3)
    gateway, _ = in_process(Resolver())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as group:
            listen_tcp(listener, functools.partial(serve_explicit, gateway), group)
            async with guest(listener.getsockname()[1]) as program:
                await program.send(b"GET http://a.test/ HTTP/1.1\r\nX: ")
                dripping = asyncio.create_task(_drip(program.writer))
                assert await program.ended() in (True, False)
                dripping.cancel()
            asyncio.get_running_loop().remove_reader(listener)
    assert gateway.counters()["open"] == 0


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"y")
        await asyncio.sleep(0.05)


async def test_endless_heads_cost_no_memory(direct: RunningGateway) -> None:
    before = _memory_mib(direct, "VmHWM")

    async def flood() -> int:
        async with guest(direct.proxy_port) as program:
            try:
                await program.send(b"GET http://a.test/ HTTP/1.1\r\n" + b"X: y\r\n" * 200_000)
                return (await program.answer()).status
            except ConnectionError:
                return 431  # it was closed while we were still sending

    statuses = await asyncio.gather(*(flood() for _ in range(40)))
    assert set(statuses) == {431}
    assert _memory_mib(direct, "VmHWM") - before < 16


PARTS = [
    b"GET ", b"POST ", b"CONNECT ", b"http://origin.test/", b"a.test:80", b" HTTP/1.1", b" HTTP/1.0",
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b"Host: a", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"5\r\nhello", b"0\r\n\r\n", b": ", b"Connection: upgrade",
    b"Upgrade: x", b"\xff\xfe", b"x" * 5000, b"Expect: 100-continue",
]  # fmt: skip


async def test_nonsense_is_survived(direct: RunningGateway) -> None:
    """Any mixture of the words of HTTP. That nothing unexpected is logged is checked at the end."""
    chance = random.Random(4)

    async def babble(words: list[bytes]) -> None:
        try:
            async with guest(direct.proxy_port) as program:
                await program.send(b"".join(words))
                program.writer.write_eof()
                await program.reader.read()
        except ConnectionError:
            return

    # No name in it may resolve: mode none would refuse earlier, so the policy allows no host at all.
    policy = Policy(allow=("nothing.invalid",))
    await direct.client.configure(EgressSpec(mode=EgressMode.DIRECT, policy=policy))
    for _ in range(30):
        lines = (chance.choices(PARTS, k=chance.randint(1, 12)) for _ in range(20))
        await asyncio.gather(*(babble(words) for words in lines))
    counters = await direct.client.counters()
    assert counters["connections"] == 600
    assert counters["denied_by_reason"]["bad_request"] > 50


async def test_denials_are_all_counted_but_do_not_flood_the_keeper(direct: RunningGateway) -> None:
    async def knock() -> None:
        for _ in range(30):
            async with guest(direct.proxy_port) as program:
                assert (await program.tunnel("10.0.0.1:80")).status == 403

    await asyncio.gather(*(knock() for _ in range(20)))
    counters = await direct.client.counters()
    assert counters["denied_by_reason"] == {"not_public": 600}
    assert len(direct.events) < 400


async def test_no_way_of_ending_leaks_a_descriptor(origin: Origin) -> None:
    """Guests that vanish at every stage, resets and half-closes: all sockets are closed after."""
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",)))
        directory = Path(f"/proc/{gateway.process.pid}/fd")
        before = len(list(directory.iterdir()))
        tunnel = f"CONNECT 127.0.0.1:{origin.port} HTTP/1.1\r\nHost: x\r\n\r\n"
        plain = f"GET http://127.0.0.1:{origin.port}/bytes/3000000 HTTP/1.1\r\nHost: x\r\n\r\n"
        post = f"POST http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal"
        made = 0
        for opening in ("", "GET ht", tunnel, tunnel + "GET / HTTP/1.1\r\n", plain, post):
            for ending in (_vanish, _reset, _half_close):
                for waits in (False, True):
                    async with guest(gateway.proxy_port) as program:
                        await program.send(opening)
                        if waits and opening.endswith("\r\n\r\n"):
                            await program.reader.read(1)
                        ending(program.writer)
                    made += 1
        origin.drop_connections()
        async with asyncio.timeout(60):
            # None open says nothing while some wait in the queue: those will be accepted yet.
            while (counters := await gateway.client.counters())["open"] or counters["connections"] < made:
                await asyncio.sleep(0)
        assert len(list(directory.iterdir())) == before


def _vanish(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _half_close(writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


async def test_connections_to_nowhere_are_bounded(origin: Origin) -> None:
    async with running_gateway() as gateway:
        spec = EgressSpec(
            mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",), policy=Policy(max_connections=50)
        )
        await gateway.client.configure(spec)
        connections = [await asyncio.open_connection("127.0.0.1", gateway.proxy_port) for _ in range(50)]
        refused = 0
        for _ in range(20):
            try:
                async with guest(gateway.proxy_port) as program:
                    await program.get(f"http://127.0.0.1:{origin.port}/")
            except (ConnectionError, AssertionError):
                refused += 1
        assert refused == 20
        for _, writer in connections:
            writer.close()
        async with asyncio.timeout(10):
            while (await gateway.client.counters())["open"]:
                await asyncio.sleep(0)
        async with guest(gateway.proxy_port) as program:
            assert (await program.get(f"http://127.0.0.1:{origin.port}/")).status == 200


async def test_a_tightened_policy_holds_under_load(origin: Origin) -> None:
    """No connection under the wider rule once `configure` has returned."""
    async with running_gateway() as gateway:
        wide = EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",))
        tight = EgressSpec(
            mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",), policy=Policy(deny=("127.0.0.1",))
        )
        await gateway.client.configure(wide)
        statuses: list[int] = []
        stop = asyncio.Event()

        async def hammer() -> None:
            while not stop.is_set():
                try:
                    async with guest(gateway.proxy_port) as program:
                        statuses.append((await program.tunnel(f"127.0.0.1:{origin.port}")).status)
                except (ConnectionError, AssertionError):
                    statuses.append(0)  # closed in the middle

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(hammer())
            while statuses.count(200) < 50:
                await asyncio.sleep(0)
            await gateway.client.configure(tight)
            # What the kernel accepted for the origin before that moment, its thread may take up after it.
            await asyncio.to_thread(_drained, origin)
            reached, denied = origin.accepted, statuses.count(403)
            while statuses.count(403) < denied + 100:
                await asyncio.sleep(0)
            stop.set()
        assert origin.accepted == reached
        assert (await gateway.client.counters())["open"] == 0


def _drained(origin: Origin) -> None:
    """One more connection of our own: those before it in the queue have been accepted then."""
    before = origin.accepted
    with socket.create_connection(("127.0.0.1", origin.port)) as last:
        last.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while last.recv(65536):
            pass
    assert origin.accepted > before


async def test_a_dial_under_way_is_ended_by_a_change() -> None:
    gateway, _ = in_process(Resolver(), "127.0.0.0/8")
    waiting = asyncio.Event()

    class Hanging(Resolver):
        async def resolve(self, host: str | Address) -> tuple[Address, ...]:
            waiting.set()
            await asyncio.Event().wait()
            raise AssertionError

    gateway.resolver = Hanging()
    # Neither the mode nor the name is denied: only where the name will turn out to lead.
    tighter = replace(gateway.spec, policy=Policy(deny=("127.0.0.1/32",)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        async def serve() -> Flow:
            from oriel.egress.channel import SocketChannel

            flow = gateway.admit("proxy", SocketChannel(ours))
            await gateway.reach(Target("a.test", 80), flow)
            return flow

        dialing = asyncio.create_task(serve())
        await waiting.wait()
        gateway.configure(tighter)
        with pytest.raises(asyncio.CancelledError):
            await dialing
    assert gateway.counters()["open"] == 0


def _memory_mib(gateway: RunningGateway, field: str) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024
