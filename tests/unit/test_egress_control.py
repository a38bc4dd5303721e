"""The keeper's end of the control pair, against a peer that does what it likes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from oriel.egress.control import GatewayClient, gateway_argv
from oriel.model.egress import EgressSpec
from oriel.model.errors import Fault, InvalidError, OrielError, UnavailableError
from oriel.model.secret import Secret

pytestmark = pytest.mark.anyio


class Peer:
    """The gateway's end."""

    def __init__(
        self, client: GatewayClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.client, self.reader, self.writer = client, reader, writer

    async def asked(self) -> dict:
        return json.loads(await self.reader.readline())

    async def say(self, *lines: object) -> None:
        for line in lines:
            self.writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        await self.writer.drain()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    ours, theirs = socket.socketpair()
    client = await GatewayClient.connect(ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    yield Peer(client, reader, writer)
    await client.close()
    writer.close()
    await writer.wait_closed()


async def test_answers_find_their_question_in_any_order(peer: Peer) -> None:
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(peer.client.counters()) for _ in range(2))
        one, two = await peer.asked(), await peer.asked()
        await peer.say({"id": 999, "ok": True, "result": {}})  # nobody asked
        for number in (two["id"], one["id"]):
            await peer.say({"id": number, "ok": True, "result": {"number": number}})
    assert (first.result()["number"], second.result()["number"]) == (one["id"], two["id"])


async def test_errors_come_back_as_themselves(peer: Peer) -> None:
    asking = asyncio.create_task(peer.client.configure(EgressSpec()))
    request = await peer.asked()
    assert (request["verb"], request["args"]["mode"]) == ("configure", "none")
    error = InvalidError.of([Fault("upstreams[0].port", "is missing")])
    await peer.say({"id": request["id"], "ok": False, "error": error.to_wire()})
    with pytest.raises(InvalidError) as raised:
        await asking
    assert raised.value.faults == error.faults


async def test_silence_has_an_end(peer: Peer) -> None:
    with pytest.raises(UnavailableError, match=r"within 0\.05 s"):
        await peer.client.counters(deadline_s=0.05)


@pytest.mark.parametrize("nonsense", [b"not json", b"[1]", b"x" * (1 << 21)])
async def test_nonsense_ends_it(peer: Peer, nonsense: bytes) -> None:
    asking = asyncio.create_task(peer.client.counters())
    await peer.asked()
    await peer.say(nonsense)
    with pytest.raises(UnavailableError):
        await asking
    async with asyncio.timeout(30):
        await peer.client.closed()


async def test_events_in_order_until_the_end(peer: Peer) -> None:
    await peer.say(*({"event": "denied", "number": number} for number in range(5)))
    peer.writer.write_eof()
    async with asyncio.timeout(30):
        seen = [event["number"] async for event in peer.client.events()]
    assert seen == list(range(5))
    with pytest.raises(OrielError):
        await peer.client.counters()


async def test_an_unread_flood_of_events_is_bounded(peer: Peer) -> None:
    for number in range(6000):
        await peer.say({"event": "denied", "number": number})
    asking = asyncio.create_task(peer.client.counters())
    await peer.say({"id": (await peer.asked())["id"], "ok": True, "result": {}})
    await asking
    peer.writer.write_eof()
    seen = [event["number"] async for event in peer.client.events()]
    assert (len(seen), seen[-1]) == (4096, 5999)


def test_the_command_line_holds_descriptors_only() -> None:
    words = gateway_argv(control_fd=3, proxy_fd=4, dns_udp_fd=5)
    assert words[1:4] == ["-P", "-m", "oriel.egress"]
    assert words[4:] == ["--control-fd", "3", "--proxy-fd", "4", "--dns-udp-fd", "5"]
    assert "canary" not in repr(EgressSpec(upstreams=(Secret("http://u:canary@h.example:1"),)))
