"""Upstreams of every kind, and every way in which they fail: closed, told, never around them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oriel.egress import dial
from oriel.egress.failure import Fault, UpstreamError
from oriel.egress.resolver import Resolver
from oriel.egress.target import Target
from oriel.egress.upstream import parse_upstream
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.errors import InvalidError, NotFoundError, OrielError, StateError, UnavailableError
from oriel.model.secret import Secret
from tests.fakes.broken import closes, drips, resets, says
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.guest import Answer, guest
from tests.fakes.origin import Authority, Origin
from tests.fakes.server import TcpServer
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio
EXIT = "127.0.0.9"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with running_gateway() as running:
        yield running


def through(*urls: str, failover: bool = False, ca: str = "") -> EgressSpec:
    return EgressSpec(
        mode=EgressMode.PROXY,
        upstreams=tuple(Secret(url) for url in urls),
        failover=failover,
        upstream_ca=ca,
    )


async def both_ways(gateway: RunningGateway) -> tuple[Answer, Answer]:
    """The same origin, asked for by a plain request and by a tunnel."""
    async with guest(gateway.proxy_port) as program:
        plain = await program.get("http://origin.test/ip")
    async with guest(gateway.proxy_port) as program:
        tunnel = await program.tunnel("origin.test:80")
    return plain, tunnel


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
async def test_kinds(gateway: RunningGateway, origin: Origin, tmp_path: Path, kind: str) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path, "127.0.0.1") if kind == "https" else None
    with UpstreamProxy(username="u", password="p", kind=kind, tls=tls, source=EXIT) as upstream:
        upstream.hosts["origin.test"] = ("127.0.0.1", origin.port)
        await gateway.client.configure(through(upstream.url, ca=authority.pem))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/ip")).body == EXIT.encode()
            assert (await program.get("http://origin.test/bytes/500000")).body == b"x" * 500_000
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("origin.test:80")).status == 200
            await program.send("GET /bytes/500000 HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
            assert (await program.answer()).body == b"x" * 500_000
            assert await program.ended() is False
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("origin.test:80")).status == 200
            await gateway.client.configure(EgressSpec())
            assert await program.ended() is True
        assert (await gateway.client.counters())["open"] == 0
        await gateway.client.configure(through(upstream.url, ca=authority.pem))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/ip")).status == 200
        assert all(asked.authorized for asked in upstream.asked)
        assert (await gateway.client.counters())["upstream_ok"] is True


BROKEN = {
    "closes": (closes, Fault.CLOSED),
    "resets": (resets, Fault.CLOSED),
    "half_head": (says(b"HTTP/1.1 200 Conn"), Fault.CLOSED),
    "garbage": (says(b"\x00\xff\x13 not a proxy\r\n\r\n"), Fault.PROTOCOL),
    "bare_newlines": (says(b"HTTP/1.1 200 OK\nX: y\r\n\r\n"), Fault.PROTOCOL),
    "endless_head": (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000), Fault.PROTOCOL),
    "asks_again": (says(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n"), Fault.AUTHENTICATION),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_upstream_is_told_and_never_gone_around(
    gateway: RunningGateway, origin: Origin, name: str
) -> None:
    handle, fault = BROKEN[name]
    with TcpServer(handle) as server:
        await gateway.client.configure(through(f"http://u:canary-pw@127.0.0.1:{server.port}"))
        for answer in await both_ways(gateway):
            assert answer.status == 502
            assert not answer.header("proxy-authenticate")
            assert answer.header("oriel-error") == f"upstream_{fault}"
            assert b"the proxy of this desktop does not work" in answer.body.lower()
            assert b"canary" not in answer.body
    counters = await gateway.client.counters()
    assert (counters["upstream_ok"], counters["upstream_errors"]) == (False, 2)
    events = [event for event in gateway.events if event["event"] == "upstream"]
    assert [(event["ok"], event["fault"]) for event in events] == [(False, str(fault))]  # told once
    assert "canary" not in str(events) + gateway.log.read_text()
    assert origin.accepted == 0


async def test_wrong_password_is_a_page_not_a_prompt(gateway: RunningGateway, origin: Origin) -> None:
    with UpstreamProxy(
        username="u", password="right", hosts={"origin.test": ("127.0.0.1", origin.port)}
    ) as up:
        await gateway.client.configure(through(up.url.replace("right", "wrong")))
        for answer in await both_ways(gateway):
            assert answer.status == 502
            assert answer.header("oriel-error") == "upstream_authentication"
        # Put right, it works at once, and that is an event too.
        await gateway.client.configure(through(up.url))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/ip")).status == 200
    await gateway.client.counters()
    assert [e["ok"] for e in gateway.events if e["event"] == "upstream"] == [False, True]
    assert len(origin.seen) == 1


async def test_nobody_listens(gateway: RunningGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await gateway.client.configure(through(f"http://127.0.0.1:{port}"))
    for answer in await both_ways(gateway):
        assert (answer.status, answer.header("oriel-error")) == (502, "upstream_refused")


async def test_socks_failures(gateway: RunningGateway) -> None:
    with UpstreamProxy(username="u", password="p", kind="socks5") as upstream:
        await gateway.client.configure(through(upstream.url.replace(":p@", ":wrong@")))
        for answer in await both_ways(gateway):
            assert answer.header("oriel-error") == "upstream_authentication"
        # Without credentials only "no authentication" is offered, which it declines.
        await gateway.client.configure(through(f"socks5://127.0.0.1:{upstream.port}"))
        for answer in await both_ways(gateway):
            assert answer.header("oriel-error") == "upstream_authentication"
        await gateway.client.configure(through(upstream.url))
        for answer in await both_ways(gateway):  # the name is unknown to it: not the proxy's fault
            assert (answer.status, b"host unreachable" in answer.body) == (502, True)
        assert (await gateway.client.counters())["upstream_ok"] is True


async def test_a_target_that_fails_is_not_the_upstreams_fault(gateway: RunningGateway) -> None:
    with UpstreamProxy() as upstream:
        await gateway.client.configure(through(upstream.url))
        async with guest(gateway.proxy_port) as program:
            answer = await program.tunnel("unknown.test:443")
        assert (answer.status, b"unknown.test:443 could not be reached" in answer.body) == (502, True)
    counters = await gateway.client.counters()
    assert (counters["upstream_ok"], counters["upstream_errors"]) == (True, 0)


@pytest.mark.parametrize("trusted", [True, False], ids=["wrong_name", "unknown_authority"])
async def test_wrong_certificate(gateway: RunningGateway, tmp_path: Path, trusted: bool) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path, "somebody-else.test" if trusted else "127.0.0.1")
    with UpstreamProxy(username="u", password="p", kind="https", tls=tls) as upstream:
        await gateway.client.configure(through(upstream.url, ca=authority.pem if trusted else ""))
        for answer in await both_ways(gateway):
            assert (answer.status, answer.header("oriel-error")) == (502, "upstream_tls")
        assert upstream.asked == []  # the credentials were never sent


async def test_tls_to_a_proxy_that_has_none(gateway: RunningGateway) -> None:
    def plain(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with TcpServer(plain) as server:
        await gateway.client.configure(through(f"https://u:p@127.0.0.1:{server.port}"))
        for answer in await both_ways(gateway):
            assert answer.header("oriel-error") == "upstream_tls"


async def test_a_silent_upstream_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "TUNNEL_S", 0.2)

    def waits(sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    with TcpServer(waits) as server:
        for scheme in ("http", "socks5"):
            upstream = parse_upstream(f"{scheme}://u:p@127.0.0.1:{server.port}")
            with pytest.raises(UpstreamError) as raised:
                await dial.open_tunnel(
                    upstream, Target("a.test", 443), Resolver(), ssl.create_default_context
                )
            assert (raised.value.fault, raised.value.status) == (Fault.TIMEOUT, 504)


async def test_a_dripping_upstream_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "TUNNEL_S", 0.3)
    with TcpServer(drips) as server:
        upstream = parse_upstream(f"http://127.0.0.1:{server.port}")
        with pytest.raises(UpstreamError) as raised:
            await dial.open_tunnel(upstream, Target("a.test", 443), Resolver(), ssl.create_default_context)
        assert raised.value.fault is Fault.TIMEOUT


@pytest.mark.parametrize("failover", [True, False])
async def test_failover_only_if_asked(gateway: RunningGateway, origin: Origin, failover: bool) -> None:
    hosts = {"origin.test": ("127.0.0.1", origin.port)}
    with TcpServer(closes) as dead, UpstreamProxy(source=EXIT, hosts=hosts) as alive:
        await gateway.client.configure(through(f"http://127.0.0.1:{dead.port}", alive.url, failover=failover))
        _, tunnel = await both_ways(gateway)
        assert tunnel.status == (200 if failover else 502)
        assert (alive.accepted > 0) == failover
        if failover:  # what failed just now is not tried first again
            tried = dead.accepted
            _, tunnel = await both_ways(gateway)
            assert (tunnel.status, dead.accepted) == (200, tried)


async def test_check(gateway: RunningGateway, origin: Origin, tmp_path: Path) -> None:
    authority = Authority()
    hosts = {"echo.test": ("127.0.0.1", origin.port)}
    with (
        UpstreamProxy(username="u", password="right", source=EXIT, hosts=hosts) as up,
        Origin(tls=authority.server_context(tmp_path, "tls.test")) as secure,
    ):
        up.hosts["tls.test"] = ("127.0.0.1", secure.port)
        await gateway.client.configure(through(up.url, ca=authority.pem))
        for echo in ("http://echo.test/ip", "https://tls.test/ip"):
            report = await gateway.client.check("", echo)
            assert (report["reachable"], report["authenticated"], report["exit_ip"]) == (True, True, EXIT)
            assert 0 < report["latency_ms"] < 1000
            assert (await gateway.client.counters())["exit_ip"] == EXIT
        wrong = await gateway.client.check(up.url.replace("right", "wrong"), "http://echo.test/ip")
        assert (wrong["reachable"], wrong["authenticated"], wrong["exit_ip"]) == (True, False, "")
        assert "user name and password" in wrong["problem"]
        assert wrong["hint"]
        no_echo = await gateway.client.check(up.url)
        assert (no_echo["reachable"], no_echo["authenticated"]) == (True, None)
        useless = await gateway.client.check("", "http://echo.test/")
        assert "no address" in useless["problem"]
        up.forbidden_ports = {22}
        ports = (await gateway.client.check("", "http://echo.test/ip", ports=[80, 22]))["ports"]
        assert ports == {"80": True, "22": False}
        # Trying another proxy changes nothing for the desktop.
        counters = await gateway.client.counters()
        assert (counters["exit_ip"], counters["upstream_ok"]) == (EXIT, True)
    gone = await gateway.client.check("", "http://echo.test/ip")
    assert (gone["reachable"], gone["authenticated"]) == (False, None)
    with pytest.raises(InvalidError):
        await gateway.client.check("ftp://canary", "")
    with pytest.raises(InvalidError):
        await gateway.client.check("", "file:///etc/passwd")


async def test_check_without_a_way_out(gateway: RunningGateway) -> None:
    with pytest.raises(StateError):
        await gateway.client.check("", "http://echo.test/ip")


async def test_a_bad_configuration_changes_nothing(gateway: RunningGateway, origin: Origin) -> None:
    with UpstreamProxy(hosts={"origin.test": ("127.0.0.1", origin.port)}) as upstream:
        await gateway.client.configure(through(upstream.url))
        with pytest.raises(InvalidError) as raised:
            await gateway.client.configure(
                through("http://u:canary-pw@h.example", "socks4://x:1", ca="canary")
            )
        assert [fault.field for fault in raised.value.faults] == [
            "upstreams[0].port", "upstreams[1].scheme", "upstream_ca",
        ]  # fmt: skip
        assert "canary" not in str(raised.value.to_wire())
        with pytest.raises(InvalidError, match="at least one"):
            await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/")).status == 200


async def test_the_control_pair(gateway: RunningGateway) -> None:
    with pytest.raises(NotFoundError):
        await gateway.client._ask("nonsense", {}, 5)
    with pytest.raises(OrielError):
        await gateway.client._ask("configure", {"mode": "direct", "extra": 1}, 5)
    # Many at once, answered each.
    answers = await asyncio.gather(*(gateway.client.counters() for _ in range(50)))
    assert len(answers) == 50


async def test_a_killed_gateway_is_noticed(gateway: RunningGateway) -> None:
    async with guest(gateway.proxy_port) as program:
        gateway.process.kill()
        async with asyncio.timeout(30):
            await gateway.client.closed()
        assert await program.ended() in (True, False)
    with pytest.raises(UnavailableError):
        await gateway.client.counters()
    with pytest.raises(ConnectionRefusedError):
        async with guest(gateway.proxy_port):
            pass
