"""DNS that forwards nothing, and programs that ignore proxies: captured in a real namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import pytest

from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.link import FAKE_NETWORK
from oriel.model.secret import Secret
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio
EXIT = "127.0.0.9"
T = TypeVar("T")


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def ask_udp(port: int, message: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.sendto(message, ("127.0.0.1", port))
        return sock.recv(4096)


async def test_udp_and_tcp_say_the_same() -> None:
    async with running_gateway() as gateway:
        over_udp = await asyncio.to_thread(ask_udp, gateway.dns_port, query("www.example.com"))
        assert struct.unpack_from(">6H", over_udp)[2:4] == (1, 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.dns_port)
        for name in ("www.example.com", "other.example"):  # several on one connection
            writer.write(struct.pack(">H", len(query(name))) + query(name))
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            over_tcp = await reader.readexactly(length)
            assert (over_tcp == over_udp) == (name == "www.example.com")
        writer.close()
        await writer.wait_closed()


async def test_garbage_on_both_ports_hurts_nobody() -> None:
    async with running_gateway() as gateway:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for size in (0, 1, 11, 12, 500, 5000):
                sock.sendto(secrets.token_bytes(size), ("127.0.0.1", gateway.dns_port))
        for data in (b"\0\0", b"\xff\xff" + b"x" * 70000, b"\0\5abc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.dns_port)
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                writer.write_eof()
                async with asyncio.timeout(30):
                    await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        answer = await asyncio.to_thread(ask_udp, gateway.dns_port, query("www.example.com"))
        assert struct.unpack_from(">6H", answer)[3] == 1


class Namespace:
    """A network namespace whose TCP to fake addresses is redirected, as oriel.network does it."""

    def __init__(self) -> None:
        self.name = f"egress-test-{secrets.token_hex(4)}"

    def __enter__(self) -> Namespace:
        self._ip("netns", "add", self.name)
        self._ip("-n", self.name, "link", "set", "lo", "up")
        for network in (FAKE_NETWORK, "203.0.113.0/24"):
            self._ip("-n", self.name, "route", "add", "local", network, "dev", "lo")
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "delete", self.name)

    def redirect(self, port: int) -> None:
        rules = f"""table ip capture {{
            chain out {{
                type nat hook output priority -100
                ip daddr {{ {FAKE_NETWORK}, 203.0.113.0/24 }} meta l4proto tcp redirect to :{port}
            }}
        }}"""
        subprocess.run(
            ["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=rules, text=True, check=True
        )

    def run(self, work: Callable[[], T]) -> T:
        """`work` in a thread that lives in the namespace."""
        results: list[T] = []
        failures: list[BaseException] = []

        def inside() -> None:
            try:
                fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
                _setns(fd)
                os.close(fd)
                results.append(work())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join(20)
        if failures:
            raise failures[0]
        return results[0]

    def _ip(self, *argv: str) -> None:
        subprocess.run(["ip", *argv], check=True, capture_output=True)


def _setns(fd: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if os.geteuid() != 0:
        pytest.fail("this test makes a network namespace: run it as root")
    with Namespace() as made:
        yield made


@pytest.fixture
async def captured(namespace: Namespace) -> AsyncIterator[tuple[RunningGateway, Namespace]]:
    def listeners() -> list[socket.socket]:
        dns_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns_udp.bind(("127.0.0.1", 53))
        return [
            socket.create_server(("127.0.0.1", 3128)),
            dns_udp,
            socket.create_server(("127.0.0.1", 53)),
            socket.create_server(("0.0.0.0", 3129)),
        ]

    async with running_gateway(namespace.run(listeners)) as gateway:
        namespace.redirect(gateway.transparent_port)
        yield gateway, namespace


def converse(address: tuple[str, int], message: bytes) -> bytes:
    """Connect, send, read to the end. ConnectionError if it is reset."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(message)
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data


def resolve(name: str) -> str:
    return socket.inet_ntoa(ask_udp(53, query(name))[-4:])


REQUEST = b"GET /ip HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n"


async def test_a_program_that_ignores_proxies(captured: tuple[RunningGateway, Namespace]) -> None:
    gateway, namespace = captured
    with Origin() as origin, UpstreamProxy(username="u", password="p", source=EXIT) as upstream:
        upstream.hosts["origin.test:80"] = ("127.0.0.1", origin.port)
        await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),)))

        def program() -> bytes:
            return converse((resolve("origin.test"), 80), REQUEST)

        answer = await asyncio.to_thread(namespace.run, program)
        assert answer.endswith(EXIT.encode())
        assert upstream.authorities == ["origin.test:80"]


async def test_what_cannot_be_captured_is_reset(captured: tuple[RunningGateway, Namespace]) -> None:
    gateway, namespace = captured
    with UpstreamProxy() as upstream:
        await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),)))
        for address in (("198.18.7.7", 443), ("127.0.0.1", gateway.transparent_port), ("203.0.113.5", 80)):
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(namespace.run, lambda to=address: converse(to, REQUEST))
        await gateway.client.counters()
        assert gateway.denials() == ["unmapped", "unmapped", "not_public"]
        assert upstream.accepted == 0


async def test_denied_and_unreachable_names_are_reset(captured: tuple[RunningGateway, Namespace]) -> None:
    gateway, namespace = captured
    with UpstreamProxy() as upstream:
        await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),)))

        def program() -> bytes:
            return converse((resolve("unknown.test"), 443), b"\x16\x03\x01")

        with pytest.raises(ConnectionError):
            await asyncio.to_thread(namespace.run, program)
        assert upstream.authorities == ["unknown.test:443"]
        await gateway.client.configure(EgressSpec())
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(namespace.run, program)
        assert upstream.authorities == ["unknown.test:443"]
