"""The live view's relay admits nobody who cannot show a session's credentials, whatever is sent to it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from oriel.egress import media
from oriel.egress.media import MOST_CONNECTIONS, MediaRelay
from oriel.egress.stun import COOKIE

DATAGRAM = b"\x80\x60" + b"media" * 20
PATIENCE_S = 10.0
SILENCE_S = 0.3  # on loopback an answer takes microseconds


def check(ufrag: str, password: str, *, nominate: bool = True) -> bytes:
    """A binding request as a viewer makes it."""
    user = f"{ufrag}:them".encode()
    attributes = struct.pack(">HH", 0x0006, len(user)) + user + bytes(-len(user) % 4)
    if nominate:
        attributes += struct.pack(">HH", 0x0025, 0)
    head = struct.pack(">HHI12s", 1, len(attributes) + 24, COOKIE, os.urandom(12))
    digest = hmac.new(password.encode(), head + attributes, hashlib.sha1).digest()
    return head + attributes + struct.pack(">HH", 0x0008, 20) + digest


class Side:
    """A UDP socket of one of the two, or of somebody else."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)

    def send(self, data: bytes, port: int) -> None:
        self.sock.sendto(data, ("127.0.0.1", port))

    async def hear(self, patience_s: float = PATIENCE_S) -> bytes | None:
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.get_running_loop().sock_recv(self.sock, 2048)
        except TimeoutError:
            return None

    def close(self) -> None:
        self.sock.close()


class Scene:
    """A relay with one session, in which viewer and guest have shown their credentials."""

    def __init__(self, relay: MediaRelay, inside: int, told: dict[str, Any]) -> None:
        self.relay, self.inside, self.told = relay, inside, told
        self.viewer, self.guest, self.other = Side(), Side(), Side()

    @property
    def port(self) -> int:
        return int(self.told["port"])

    async def admit(self) -> None:
        self.guest.send(check(**_named(self.told["guest"])), self.inside)
        assert (await self.guest.hear() or b"")[:2] == b"\x01\x01"
        self.viewer.send(check(**_named(self.told["viewer"])), self.port)
        assert (await self.viewer.hear() or b"")[:2] == b"\x01\x01"


def _named(credentials: dict[str, str]) -> dict[str, str]:
    return {"ufrag": credentials["ufrag"], "password": credentials["pwd"]}


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside.bind(("127.0.0.1", 0))
    port = inside.getsockname()[1]
    relay = MediaRelay(inside)
    made = Scene(relay, port, await relay.open(["127.0.0.1"], 0))
    try:
        yield made
    finally:
        relay.close()
        for side in (made.viewer, made.guest, made.other):
            side.close()


def test_packets_pass_between_the_admitted_two_both_ways() -> None:
    async def run() -> None:
        async with scene() as s:
            await s.admit()
            s.viewer.send(DATAGRAM, s.port)
            assert await s.guest.hear() == DATAGRAM
            s.guest.send(DATAGRAM[::-1] if DATAGRAM[-1] > 3 else DATAGRAM, s.inside)
            assert await s.viewer.hear() is not None

    asyncio.run(run())


def test_a_stranger_reaches_nobody_and_hears_nothing() -> None:
    async def run() -> None:
        async with scene() as s:
            await s.admit()
            viewer = s.told["viewer"]
            for data in (
                DATAGRAM,
                check(viewer["ufrag"], "wrong" * 6),
                check("unknown", viewer["pwd"]),
                check(viewer["ufrag"], viewer["pwd"])[:-1],
                os.urandom(1400),
                b"",
            ):
                s.other.send(data, s.port)
                s.other.send(DATAGRAM, s.port)
            assert await s.other.hear(SILENCE_S) is None
            assert await s.guest.hear(SILENCE_S) is None

    asyncio.run(run())


def test_all_that_the_guest_knows_opens_nothing_from_outside() -> None:
    """A guest that tells its own credentials to an accomplice: they are good on its own side only."""

    async def run() -> None:
        async with scene() as s:
            await s.admit()
            s.other.send(check(**_named(s.told["guest"])), s.port)
            s.other.send(DATAGRAM, s.port)
            assert await s.other.hear(SILENCE_S) is None
            assert await s.guest.hear(SILENCE_S) is None
            s.guest.send(DATAGRAM, s.inside)
            assert await s.viewer.hear() == DATAGRAM
            assert await s.other.hear(SILENCE_S) is None

    asyncio.run(run())


def test_an_ended_session_passes_nothing_at_once() -> None:
    async def run() -> None:
        async with scene() as s:
            await s.admit()
            s.relay.end(s.told["session"])
            s.viewer.send(DATAGRAM, s.port)
            s.guest.send(DATAGRAM, s.inside)
            assert await s.guest.hear(SILENCE_S) is None
            assert await s.viewer.hear(SILENCE_S) is None
            s.viewer.send(check(**_named(s.told["viewer"])), s.port)
            assert await s.viewer.hear(SILENCE_S) is None

    asyncio.run(run())


def test_old_credentials_are_void_after_two_restarts() -> None:
    async def run() -> None:
        async with scene() as s:
            await s.admit()
            s.relay.restart(s.told["session"])
            newest = s.relay.restart(s.told["session"])["viewer"]
            s.other.send(check(**_named(s.told["viewer"])), s.port)
            assert await s.other.hear(SILENCE_S) is None
            s.other.send(check(**_named(newest)), s.port)
            assert (await s.other.hear() or b"")[:2] == b"\x01\x01"
            s.guest.send(DATAGRAM, s.inside)
            assert await s.other.hear() == DATAGRAM  # the viewer has moved

    asyncio.run(run())


def test_tcp_connections_without_a_check_are_few_and_nonsense_ends_them() -> None:
    async def run() -> None:
        async with scene() as s:
            await s.admit()
            opened = [await asyncio.open_connection("127.0.0.1", s.port) for _ in range(MOST_CONNECTIONS)]
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            async with asyncio.timeout(PATIENCE_S):
                assert await _ended(reader)  # one too many
            writer.close()
            reader, writer = opened[0]
            writer.write(b"\xff\xff" + b"x" * 4000)  # longer than any packet of ours
            async with asyncio.timeout(PATIENCE_S):
                assert await _ended(reader)
            for _, writer in opened:
                writer.close()

    asyncio.run(run())


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


def test_any_port_is_one_that_udp_and_tcp_have_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first number it is given is taken for TCP."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports, bound = [taken.getsockname()[1], 0], media._bound
            monkeypatch.setattr(media, "_bound", lambda address, port: bound(address, ports.pop(0)))
            inside = Side()
            relay = MediaRelay(inside.sock)
            told = await relay.open(["127.0.0.1"], 0)
            assert told["port"] != taken.getsockname()[1]
            assert ports == []
            relay.close()

    asyncio.run(run())
