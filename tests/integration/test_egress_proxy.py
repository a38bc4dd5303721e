"""The explicit proxy as programs in the guest use it: the real process, a real upstream, a real origin."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.model.egress import EgressMode, EgressSpec, Policy
from oriel.model.secret import Secret
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.guest import curl, guest, refused
from tests.fakes.origin import Authority, Origin
from tests.fakes.server import TcpServer, read_exactly, read_head
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio
EXIT = "127.0.0.9"  # the address from which origins see the upstream


def through(*upstreams: UpstreamProxy, failover: bool = False, ca: str = "", **policy: object) -> EgressSpec:
    return EgressSpec(
        mode=EgressMode.PROXY,
        proxy="test",
        upstreams=tuple(Secret(upstream.url) for upstream in upstreams),
        failover=failover,
        upstream_ca=ca,
        policy=Policy(**policy),  # type: ignore[arg-type]
    )


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        yield server


@pytest.fixture
async def upstream(origin: Origin) -> AsyncIterator[UpstreamProxy]:
    hosts = {"origin.test": ("127.0.0.1", origin.port)}
    with UpstreamProxy(username="user", password="pass-word", source=EXIT, hosts=hosts) as server:
        yield server


@pytest.fixture
async def gateway(upstream: UpstreamProxy) -> AsyncIterator[RunningGateway]:
    async with running_gateway() as running:
        await running.client.configure(through(upstream))
        yield running


async def test_before_it_is_configured_nothing_goes_out() -> None:
    with Origin() as origin:
        async with running_gateway() as gateway:
            assert (await gateway.client.counters())["mode"] == "none"
            async with guest(gateway.proxy_port) as program:
                answer = await program.get(f"http://127.0.0.1:{origin.port}/")
            assert answer.status == 403
            assert b"no way out" in answer.body
            assert gateway.denials() == ["mode_none"]
        assert origin.accepted == 0


async def test_a_request_goes_through_the_upstream(
    gateway: RunningGateway, upstream: UpstreamProxy, origin: Origin
) -> None:
    async with guest(gateway.proxy_port) as program:
        answer = await program.get(
            "http://origin.test/ip",
            "Accept: x/y",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: mine",
        )
    assert (answer.status, answer.body.decode()) == (200, EXIT)
    # The credentials come with the first request: nothing was tried without.
    assert [asked.authorized for asked in upstream.asked] == [True]
    seen = origin.seen[0]
    assert seen.header("host") == ["origin.test"]
    assert seen.header("accept") == ["x/y"]
    assert b"proxy" not in seen.head.lower()
    assert b"mine" not in upstream.asked[0].head
    counters = await gateway.client.counters()
    assert counters["upstream_ok"] is True
    assert counters["connections"] == 1
    assert counters["bytes_in"] > len(EXIT)
    assert counters["bytes_out"] > 0
    assert counters["latency_ms"]["count"] == 1


async def test_one_connection_many_requests(gateway: RunningGateway, origin: Origin) -> None:
    async with guest(gateway.proxy_port) as program:
        for path, body in (("/bytes/5", b"xxxxx"), ("/chunked", b"one two three"), ("/bytes/0", b"")):
            answer = await program.get(f"http://origin.test{path}")
            assert (answer.status, answer.body) == (200, body)
        await program.send(
            "POST http://origin.test/p HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 4\r\n\r\nbody"
        )
        assert (await program.answer("POST")).body == b"hello"
        assert origin.seen[-1].body == b"body"
        await program.send(
            "POST http://origin.test/p HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3;drop=me\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: drop\r\n\r\n"
        )
        assert (await program.answer("POST")).status == 200
        assert origin.seen[-1].body == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        await program.send("HEAD http://origin.test/bytes/7 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        head = await program.answer("HEAD")
        assert (head.header("content-length"), head.body) == ("7", b"")
        # Two at once on the wire come back in order.
        one = "GET http://origin.test/bytes/{} HTTP/1.1\r\nHost: origin.test\r\n\r\n"
        await program.send(one.format(1) + one.format(2))
        first = await program.answer()
        second = await program.answer()
        assert (first.body, second.body) == (b"x", b"xx")
        last = await program.get("http://origin.test/close")
        assert (last.body, last.header("connection")) == (b"until the end", "close")
        assert await program.ended() is False
    assert (await gateway.client.counters())["connections"] == 1


async def test_one_connection_many_hosts(gateway: RunningGateway) -> None:
    def echoes(sock: socket.socket) -> None:
        while True:
            head, _ = read_head(sock)
            body = head.split(b"\r\n")[0] + b"|" + head.split(b"\r\n")[1]
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with TcpServer(echoes) as upstream:  # a proxy that keeps its connections
        url = Secret(f"http://127.0.0.1:{upstream.port}")
        await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(url,)))
        async with guest(gateway.proxy_port) as program:
            for host in ("a.test", "b.test:81", "a.test"):
                answer = await program.get(f"http://{host}/x")
                assert answer.body.decode() == f"GET http://{host}/x HTTP/1.1|Host: {host}"
        assert upstream.accepted == 1


async def test_an_old_client_gets_no_chunks(gateway: RunningGateway) -> None:
    async with guest(gateway.proxy_port) as program:
        await program.send("GET http://origin.test/chunked HTTP/1.0\r\n\r\n")
        data = await program.reader.read()
    assert data.endswith(b"\r\n\r\none two three")
    assert b"chunked" not in data


async def test_a_connection_to_the_origin_is_kept(origin: Origin) -> None:
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.1",)))
        async with guest(gateway.proxy_port) as program:
            for _ in range(3):
                assert (await program.get(f"http://127.0.0.1:{origin.port}/")).status == 200
        assert (len(origin.seen), origin.accepted) == (3, 1)
        assert [seen.path for seen in origin.seen] == ["/", "/", "/"]


async def test_a_kept_connection_that_died_meanwhile_is_no_error(origin: Origin) -> None:
    async with running_gateway() as gateway:
        await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.1",)))
        async with guest(gateway.proxy_port) as program:
            # The origin says keep-alive by default, and closes after "close" in the request only it sees.
            assert (await program.get(f"http://127.0.0.1:{origin.port}/")).status == 200
            origin.drop_connections()
            assert (await program.get(f"http://127.0.0.1:{origin.port}/")).status == 200
        assert origin.accepted == 2


async def test_tls_inside_a_tunnel(gateway: RunningGateway, upstream: UpstreamProxy, tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.pem)
    with Origin(tls=authority.server_context(tmp_path, "secure.test")) as secure:
        upstream.hosts["secure.test:443"] = ("127.0.0.1", secure.port)
        code, out = await curl(
            gateway.proxy_port, "--cacert", str(tmp_path / "ca.pem"), "https://secure.test/ip"
        )
        assert (code, out) == (0, EXIT)
    assert upstream.authorities == ["secure.test:443"]


async def test_a_server_that_speaks_first_and_half_closes(
    gateway: RunningGateway, upstream: UpstreamProxy
) -> None:
    with Origin(banner=b"220 hello\r\n") as talker:
        upstream.hosts["talker.test"] = ("127.0.0.1", talker.port)
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("talker.test:25")).status == 200
            assert await program.read(11) == b"220 hello\r\n"
            await program.send(b"last words")
            program.writer.write_eof()
            assert await program.read(10) == b"last words"
            assert await program.ended() is False


async def test_bytes_sent_along_with_the_heads_are_not_lost(gateway: RunningGateway) -> None:
    def eager(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nbanner")  # a proxy whose origin spoke already
        sock.sendall(sock.recv(100))

    with TcpServer(eager) as upstream:
        url = Secret(f"http://127.0.0.1:{upstream.port}")
        await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(url,)))
        async with guest(gateway.proxy_port) as program:
            await program.send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\nhello")
            assert (await program.answer("CONNECT")).status == 200
            assert await program.read(11) == b"bannerhello"


async def test_interim_answers_and_refused_bodies() -> None:
    def careful(sock: socket.socket) -> None:
        head, _ = read_head(sock)
        if b"100-continue" in head:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert read_exactly(sock, 4) == b"body"
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
            sock.shutdown(socket.SHUT_WR)

    with TcpServer(careful) as origin:
        async with running_gateway() as gateway:
            await gateway.client.configure(EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.1",)))
            post = f"POST http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n"
            async with guest(gateway.proxy_port) as program:
                await program.send(post + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
                interim = await program.reader.readuntil(b"\r\n\r\n")
                assert interim.startswith(b"HTTP/1.1 100 ")
                await program.send(b"body")
                assert (await program.answer("POST")).body == b"ok"
            async with guest(gateway.proxy_port) as program:
                await program.send(post + f"Content-Length: {1 << 30}\r\n\r\n" + "x" * 100_000)
                early = await program.answer("POST")
                assert (early.status, early.body) == (413, b"no!")


async def test_an_upgrade_becomes_a_tunnel(gateway: RunningGateway, upstream: UpstreamProxy) -> None:
    async with guest(gateway.proxy_port) as program:
        await program.send(
            "GET http://origin.test/upgrade HTTP/1.1\r\nHost: origin.test\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        head = await program.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Upgrade: echo" in head
        await program.send(b"ping")
        assert await program.read(4) == b"ping"
    assert upstream.asked[0].head.startswith(b"CONNECT origin.test:80 ")


async def test_a_large_transfer_is_whole_and_memory_stays_small(
    gateway: RunningGateway, upstream: UpstreamProxy
) -> None:
    block = bytes(range(256)) * 4096  # 1 MiB
    before = _peak_mib(gateway)
    with Origin(banner=b"!") as talker:
        upstream.hosts["talker.test"] = ("127.0.0.1", talker.port)
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("talker.test:9")).status == 200
            assert await program.read(1) == b"!"
            sent, received = hashlib.sha256(), hashlib.sha256()

            async def send() -> None:
                for _ in range(48):
                    sent.update(block)
                    await program.send(block)
                program.writer.write_eof()

            async def receive() -> None:
                while data := await program.reader.read(1 << 16):
                    received.update(data)

            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(send())
                group.create_task(receive())
            assert received.digest() == sent.digest()
    assert _peak_mib(gateway) - before < 4


async def test_a_receiver_that_does_not_read_holds_the_sender_back(
    gateway: RunningGateway, upstream: UpstreamProxy
) -> None:
    before = _peak_mib(gateway)
    with Origin(banner=b"x" * (64 << 20)) as flood:
        upstream.hosts["flood.test"] = ("127.0.0.1", flood.port)
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("flood.test:9")).status == 200
            counted = -1
            while counted != (now := (await gateway.client.counters())["bytes_in"]):
                counted = now
                await asyncio.to_thread(_settle)
            assert 0 < counted < 32 << 20
    assert _peak_mib(gateway) - before < 4


def _settle() -> None:
    """Long enough for loopback to move on if it can; a figure that stands still after is a stalled one."""
    import select

    select.select([], [], [], 0.3)


def _peak_mib(gateway: RunningGateway) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1024


async def test_people_get_a_page_and_programs_a_line(gateway: RunningGateway) -> None:
    async with guest(gateway.proxy_port) as program:
        page = await program.get("http://<b>.test/", "Accept: text/html")
    assert page.status == 400
    async with guest(gateway.proxy_port) as program:
        page = await program.get("http://10.0.0.1/", "Accept: text/html,*/*")
    assert (page.status, page.header("content-type")) == (403, "text/html; charset=utf-8")
    assert b"<h1>This address is not allowed</h1>" in page.body
    assert page.header("oriel-error") == "egress_not_public"
    async with guest(gateway.proxy_port) as program:
        line = await program.get("http://10.0.0.1/", "Accept: */*")
    assert line.header("content-type") == "text/plain; charset=utf-8"
    assert line.body.count(b"\n") == 1
    async with guest(gateway.proxy_port) as program:
        not_for_sites = await program.get("/", "Accept: text/html")
    assert not_for_sites.status == 400
    assert b"this is a proxy" in not_for_sites.body.lower()


async def test_policy_changes_close_what_they_forbid_and_nothing_else(
    gateway: RunningGateway, upstream: UpstreamProxy
) -> None:
    with Origin(banner=b"!") as talker:
        upstream.hosts |= {"a.test": ("127.0.0.1", talker.port), "b.test": ("127.0.0.1", talker.port)}
        async with guest(gateway.proxy_port) as first, guest(gateway.proxy_port) as second:
            for program, host in ((first, "a.test"), (second, "b.test")):
                assert (await program.tunnel(f"{host}:443")).status == 200
                assert await program.read(1) == b"!"
            await gateway.client.configure(through(upstream, deny=("a.test",)))
            assert await first.ended() is True
            await second.send(b"still here")
            assert await second.read(10) == b"still here"
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("a.test:443")).status == 403
        await gateway.client.configure(through(upstream))
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("a.test:443")).status == 200


async def test_a_kept_connection_is_closed_when_its_address_is_denied(origin: Origin) -> None:
    spec = EgressSpec(mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",))
    async with running_gateway() as gateway:
        await gateway.client.configure(spec)
        async with guest(gateway.proxy_port) as program:
            assert (await program.get(f"http://127.0.0.1:{origin.port}/")).status == 200
            await gateway.client.configure(replace(spec, policy=Policy(deny=("127.0.0.0/24",))))
            assert await program.ended() is True  # though it was only waiting for the next request


async def test_another_upstream_closes_old_connections(
    gateway: RunningGateway, upstream: UpstreamProxy, origin: Origin
) -> None:
    hosts = {"origin.test": ("127.0.0.1", origin.port)}
    with (
        Origin(banner=b"!") as talker,
        UpstreamProxy(username="other", password="pw", source="127.0.0.10", hosts=hosts) as other,
    ):
        upstream.hosts["talker.test"] = ("127.0.0.1", talker.port)
        async with guest(gateway.proxy_port) as old, guest(gateway.proxy_port) as kept:
            assert (await old.tunnel("talker.test:443")).status == 200
            assert (await kept.get("http://origin.test/ip")).body == EXIT.encode()
            await gateway.client.configure(through(other))
            assert await old.ended() is True
            assert await kept.ended() is True
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/ip")).body == b"127.0.0.10"


async def test_connection_limit(gateway: RunningGateway, upstream: UpstreamProxy) -> None:
    await gateway.client.configure(through(upstream, max_connections=1))
    async with guest(gateway.proxy_port) as first:
        assert (await first.get("http://origin.test/")).status == 200
        assert await refused(gateway.proxy_port)
    assert gateway.denials() == ["connections"]


async def test_connections_per_second(gateway: RunningGateway, upstream: UpstreamProxy) -> None:
    await gateway.client.configure(through(upstream, connections_per_second=3))
    outcomes = [await refused(gateway.proxy_port) for _ in range(12)]
    assert outcomes[:3] == [False] * 3
    assert outcomes.count(True) >= 6
    assert set(gateway.denials()) == {"rate"}


async def test_byte_quota(gateway: RunningGateway, upstream: UpstreamProxy) -> None:
    await gateway.client.configure(through(upstream, byte_quota=100_000))
    with Origin(banner=b"x" * 300_000) as big:
        upstream.hosts["big.test"] = ("127.0.0.1", big.port)
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("big.test:443")).status == 200
            assert await program.ended() is True
    async with guest(gateway.proxy_port) as program:
        assert (await program.get("http://origin.test/")).status == 429
    assert set(gateway.denials()) == {"quota"}
    await gateway.client.configure(through(upstream, byte_quota=10_000_000))
    async with guest(gateway.proxy_port) as program:
        assert (await program.get("http://origin.test/")).status == 200


async def test_a_used_quota_stays_used_whoever_is_killed(upstream: UpstreamProxy, tmp_path: Path) -> None:
    path = tmp_path / "egress.counters"
    with Origin(banner=b"x" * 300_000) as big:
        upstream.hosts["big.test"] = ("127.0.0.1", big.port)
        async with running_gateway(counters=path) as gateway:
            await gateway.client.configure(through(upstream, byte_quota=100_000))
            async with guest(gateway.proxy_port) as program:
                assert (await program.tunnel("big.test:443")).status == 200
                assert await program.ended() is True
            before = await gateway.client.counters()
            gateway.process.kill()
            await gateway.client.closed()
    assert before["quota_used"] >= 100_000
    async with running_gateway(counters=path) as gateway:
        await gateway.client.configure(EgressSpec())  # as one that does not know its policy yet
        await gateway.client.configure(through(upstream, byte_quota=100_000))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/")).status == 429
        now = await gateway.client.counters()
        assert (now["bytes_in"], now["connections"]) == (before["bytes_in"], before["connections"] + 1)
        assert now["denied_by_reason"]["quota"] > before["denied_by_reason"]["quota"]
        # It is begun anew only by a word of its own.
        await gateway.client.configure(through(upstream, byte_quota=100_000, quota_round=1))
        async with guest(gateway.proxy_port) as program:
            assert (await program.get("http://origin.test/bytes/5000")).status == 200
        assert 5000 < (await gateway.client.counters())["quota_used"] < 10_000


async def test_bytes_per_second(gateway: RunningGateway, upstream: UpstreamProxy) -> None:
    rate = 1 << 20
    await gateway.client.configure(through(upstream, bytes_per_second=rate))
    with Origin(banner=b"x" * (3 * rate)) as big:
        upstream.hosts["big.test"] = ("127.0.0.1", big.port)
        loop = asyncio.get_running_loop()
        async with guest(gateway.proxy_port) as program:
            assert (await program.tunnel("big.test:443")).status == 200
            started = loop.time()
            await program.read(3 * rate)
            seconds = loop.time() - started
    assert seconds > 1.2  # one second's worth at once, the rest at the rate


async def test_access_log_names_host_and_bytes_never_paths(
    gateway: RunningGateway, upstream: UpstreamProxy
) -> None:
    await gateway.client.configure(through(upstream, access_log=True))
    async with guest(gateway.proxy_port) as program:
        await program.get("http://origin.test/bytes/1000?canary-path")
    assert await _event(gateway, "access")
    event = next(event for event in gateway.events if event["event"] == "access")
    assert (event["host"], event["port"], event["way_in"]) == ("origin.test", 80, "proxy")
    assert event["bytes_in"] > 1000
    assert "canary" not in str(gateway.events) + gateway.log.read_text()


async def _event(gateway: RunningGateway, kind: str) -> bool:
    async with asyncio.timeout(10):
        while not any(event["event"] == kind for event in gateway.events):
            await gateway.client.counters()  # its answer comes after every event before it
    return True
