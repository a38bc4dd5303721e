"""Ambiguous requests and evil answers: refused, or rewritten with one meaning."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import AsyncIterator

import pytest

from oriel.model.egress import EgressMode, EgressSpec
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.guest import guest
from tests.fakes.origin import Origin
from tests.fakes.server import TcpServer, read_head

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
async def exempt() -> AsyncIterator[RunningGateway]:
    """A gateway that goes out by the host's own address, and may reach origins on loopback."""
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",)))
        yield gateway


HEAD = "Host: 127.0.0.1\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "length_and_chunked": f"{HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two_lengths": f"{HEAD}Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "list_of_lengths": f"{HEAD}Content-Length: 0, {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "space_before_colon": f"{HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "folded": f"{HEAD}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "bare_lf": f"{HEAD}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "bare_cr": f"{HEAD}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "nul": f"{HEAD}X: y\0z\r\n\r\n",
    "two_codings": f"{HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "unknown_coding": f"{HEAD}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "nominated_length": f"{HEAD}Connection: content-length\r\nContent-Length: 5\r\n\r\nhello",
    "two_hosts": f"{HEAD}Host: other\r\n\r\n",
    "no_host": "\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_ambiguous_requests_reach_no_origin(exempt: RunningGateway, origin: Origin, name: str) -> None:
    async with guest(exempt.proxy_port) as program:
        await program.send(f"POST http://127.0.0.1:{origin.port}/ HTTP/1.1\r\n{AMBIGUOUS[name]}")
        answer = await program.answer()
        assert answer.status in (400, 501)
        assert await program.ended() in (True, False)  # and nothing after it is read as a request
    await exempt.client.counters()
    assert (origin.accepted, exempt.denials()) == (0, ["bad_request"])


async def test_a_body_is_not_a_request(exempt: RunningGateway, origin: Origin) -> None:
    async with guest(exempt.proxy_port) as program:
        length = f"Content-Length: {len(SMUGGLED)}\r\n\r\n"
        await program.send(f"POST http://127.0.0.1:{origin.port}/one HTTP/1.1\r\n{HEAD}{length}{SMUGGLED}")
        await program.answer()
        await program.get(f"http://127.0.0.1:{origin.port}/two")
    assert [seen.path for seen in origin.seen] == ["/one", "/two"]
    assert origin.seen[0].body == SMUGGLED.encode()


async def test_the_host_header_cannot_say_otherwise(exempt: RunningGateway, origin: Origin) -> None:
    async with guest(exempt.proxy_port) as program:
        await program.send(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: other.test\r\n\r\n")
        await program.answer()
    assert origin.seen[0].header("host") == [f"127.0.0.1:{origin.port}"]


BAD_CHUNKS = [
    "x\r\n",
    "5\nhello\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n",
    "-1\r\n",
    "5;\0\r\nhello\r\n",
]


@pytest.mark.parametrize("chunks", BAD_CHUNKS)
async def test_bad_chunks_are_cut_off(exempt: RunningGateway, origin: Origin, chunks: str) -> None:
    async with guest(exempt.proxy_port) as program:
        body = f"Transfer-Encoding: chunked\r\n\r\n{chunks}"
        await program.send(f"POST http://127.0.0.1:{origin.port}/ HTTP/1.1\r\n{HEAD}{body}")
        assert (await program.answer("POST")).status == 400
    assert origin.seen == []  # it never saw a whole request


def answering(*answers: bytes) -> TcpServer:
    """An origin that answers the first request of a connection with the first of these, and so on."""

    def handle(sock: socket.socket) -> None:
        for answer in answers:
            read_head(sock)
            sock.sendall(answer)
        while sock.recv(65536):
            pass

    return TcpServer(handle)


OK = b"HTTP/1.1 200 OK\r\n"
EVIL_ANSWERS = {
    "two_lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length_and_chunked": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": OK + b"X: a\r\n Set-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "bare_lf": b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "switching_unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "asks_for_a_proxy_password": b"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "interim_forever": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "huge_head": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    "garbage": bytes(range(256)) + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", EVIL_ANSWERS)
async def test_evil_answers_become_502(exempt: RunningGateway, name: str) -> None:
    with answering(EVIL_ANSWERS[name]) as evil:
        async with guest(exempt.proxy_port) as program:
            answer = await program.get(f"http://127.0.0.1:{evil.port}/")
            assert answer.status == 502
            assert not answer.header("proxy-authenticate")
            assert not answer.header("set-cookie")


async def test_bytes_after_an_answer_are_not_the_next_answer(exempt: RunningGateway) -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with answering(first + poison, first) as evil:
        async with guest(exempt.proxy_port) as program:
            for _ in range(3):
                assert (await program.get(f"http://127.0.0.1:{evil.port}/")).body == b"ok"


async def test_a_cut_answer_does_not_look_whole(exempt: RunningGateway) -> None:
    def cut(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    with TcpServer(cut) as evil:
        async with guest(exempt.proxy_port) as program:
            await program.send(f"GET http://127.0.0.1:{evil.port}/ HTTP/1.1\r\n{HEAD}\r\n")
            assert await program.ended() is True  # a reset, no orderly end
