"""The gateway against tinyproxy, both chained to the same upstream, in turns, in the same run.

    .venv/bin/python -m bench.egress [--json] [--gib 2] [--rounds 5] [--idle 5000]

Throughput and CPU of one tunnel that downloads; added latency of one byte there and back, against the
upstream alone; resident memory with many idle tunnels; for how long a gateway that was killed -9 is away.
Origin, upstream and client are processes of their own that copy as little as they can (splice, MSG_TRUNC),
so that the proxy in the middle is what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import multiprocessing
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from bench.report import percentiles, publish
from oriel.egress.control import GatewayClient, gateway_argv
from oriel.host.layout import DesktopPaths
from oriel.host.process import BASE_ENVIRONMENT
from oriel.keeper.access import AccessLog
from oriel.keeper.gateway import Gateway as KeptGateway
from oriel.keeper.journal import Journal
from oriel.model.egress import EgressMode, EgressSpec, Policy
from oriel.model.secret import Secret
from oriel.network.link import GatewaySockets

RIVAL = "tinyproxy"
GIB = 1 << 30
PIECE = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
REQUEST = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n"
CREDENTIALS = b"Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n"  # for the upstream asked directly
WARM_UP_PINGS = 200

Handle = Callable[[socket.socket], None]


# -- what stands around the proxy


def origin_handle(sock: socket.socket) -> None:
    """`S<count>\\n`: sends that many bytes; then every byte comes back."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    block = memoryview(bytes(PIECE))
    while line := sock.recv(64):
        if line.startswith(b"S"):
            left = int(line[1:])
            while left:
                left -= sock.send(block[: min(left, PIECE)])
        else:
            sock.sendall(line)


def upstream_handle(origin_port: int, sock: socket.socket) -> None:
    """A CONNECT proxy that answers at once and moves bytes in the kernel only."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    assert b"Proxy-Authorization: Basic" in head
    with socket.create_connection(("127.0.0.1", origin_port)) as origin:
        origin.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=_splice, args=(origin, sock), daemon=True)
        back.start()
        _splice(sock, origin)
        back.join()


def _splice(source: socket.socket, sink: socket.socket) -> None:
    reading, writing = os.pipe()
    try:
        while count := os.splice(source.fileno(), writing, PIECE):
            while count:
                count -= os.splice(reading, sink.fileno(), count)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the run is over
    finally:
        os.close(reading)
        os.close(writing)


def hole_handle(held: list[socket.socket], sock: socket.socket) -> None:
    """Accepts every CONNECT and keeps it open."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    held.append(sock.dup())
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def _serve(listener: socket.socket, handle: Handle, *, threads: bool) -> None:
    def guarded(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    while True:
        connection, _ = listener.accept()
        if threads:
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()
        else:
            guarded(connection)


@contextlib.contextmanager
def serving(handle: Handle, *, threads: bool = True) -> Iterator[int]:
    """A server in a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, handle), kwargs={"threads": threads}, daemon=True
        )
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()


# -- the two proxies


@contextlib.asynccontextmanager
async def our_gateway(upstream_port: int, connections: int = 1024) -> AsyncIterator[tuple[int, int]]:
    """(port, pid) of a gateway as a keeper starts it."""
    ours, its = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    with its, listener:
        process = subprocess.Popen(
            gateway_argv(control_fd=its.fileno(), proxy_fd=listener.fileno()),
            env=BASE_ENVIRONMENT, pass_fds=[its.fileno(), listener.fileno()], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = listener.getsockname()[1]
    client = await GatewayClient.connect(ours)
    spec = EgressSpec(
        mode=EgressMode.PROXY,
        upstreams=(Secret(f"http://user:password@127.0.0.1:{upstream_port}"),),
        policy=Policy(max_connections=connections),
    )
    try:
        await client.configure(spec)
        yield port, process.pid
    finally:
        await client.close()
        process.wait(10)


@contextlib.asynccontextmanager
async def rival_proxy(upstream_port: int) -> AsyncIterator[tuple[int, int]]:
    """(port, pid) of tinyproxy with its own defaults, chained to the same upstream."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "tinyproxy.conf"
        config.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 1000\nLogLevel Critical\n"
            f"Upstream http user:password@127.0.0.1:{upstream_port}\nDisableViaHeader Yes\n"
        )
        process = subprocess.Popen([RIVAL, "-d", "-c", config], stdout=subprocess.DEVNULL)
        try:
            await asyncio.to_thread(_until_listening, port)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(10)


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")


# -- what is measured


def tunnel(port: int, fields: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST + fields + b"\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(4096)
        assert piece, "the proxy closed the connection"
        head += piece
    assert re.match(rb"HTTP/1\.[01] 200 ", head), head
    return sock


def download(port: int, pid: int, count: int) -> tuple[float, float]:
    """(Gbit/s, CPU seconds of the proxy per GiB)."""
    with tunnel(port) as sock:
        sock.settimeout(None)
        cpu, began, left = cpu_seconds(pid), time.monotonic(), count
        sock.sendall(b"S%d\n" % count)
        while left:
            # The kernel throws the bytes away itself (tcp(7)): reading them costs the client nothing.
            got = len(sock.recv(min(left, PIECE), socket.MSG_TRUNC))
            assert got, "the tunnel ended early"
            left -= got
        seconds = time.monotonic() - began
        return count * 8 / seconds / 1e9, (cpu_seconds(pid) - cpu) / (count / GIB)


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of all threads (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pings(port: int, count: int, fields: bytes = b"") -> list[float]:
    """Milliseconds for one byte to the origin and back."""
    samples = []
    with tunnel(port, fields) as sock:
        for _ in range(count + WARM_UP_PINGS):
            began = time.perf_counter()
            sock.sendall(b"p")
            assert sock.recv(1) == b"p"
            samples.append((time.perf_counter() - began) * 1000)
    return samples[WARM_UP_PINGS:]


def connects(port: int, count: int) -> list[float]:
    """Milliseconds until a new tunnel is open."""
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        tunnel(port).close()
        samples.append((time.perf_counter() - began) * 1000)
    return samples


def resident_mib(pid: int) -> float:
    """Resident memory, MiB (VmRSS: what it shares with others counts in full)."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


async def measure_traffic(options: argparse.Namespace) -> dict[str, Any]:
    with (
        serving(origin_handle) as origin_port,
        serving(functools.partial(upstream_handle, origin_port)) as upstream_port,
    ):
        async with our_gateway(upstream_port) as ours, rival_proxy(upstream_port) as rival:
            parties = {"ours": ours, "rival": rival}
            speed: dict[str, list[tuple[float, float]]] = {name: [] for name in parties}
            ping: dict[str, list[float]] = {name: [] for name in ("upstream", *parties)}
            connect: dict[str, list[float]] = {name: [] for name in parties}
            for number in range(options.rounds):
                # In turns, and each first as often as the other: the machine's mood is shared fairly.
                for name in list(parties)[:: 1 if number % 2 else -1]:
                    port, pid = parties[name]
                    count = int(options.gib * GIB)
                    speed[name].append(await asyncio.to_thread(download, port, pid, count))
                    ping[name] += await asyncio.to_thread(pings, port, 400)
                    connect[name] += await asyncio.to_thread(connects, port, 60)
                ping["upstream"] += await asyncio.to_thread(pings, upstream_port, 400, CREDENTIALS)
    return {"speed": speed, "ping": ping, "connect": connect}


async def measure_idle(count: int) -> dict[str, Any]:
    """Resident memory of our gateway before and with `count` idle tunnels."""
    held: list[socket.socket] = []
    with serving(functools.partial(hole_handle, held), threads=False) as hole_port:
        async with our_gateway(hole_port, connections=count + 10) as (port, pid):
            tunnel(port).close()
            empty = resident_mib(pid)
            tunnels: list[socket.socket] = []
            try:
                for _ in range(count):
                    tunnels.append(await asyncio.to_thread(tunnel, port))
                full = resident_mib(pid)
            finally:
                for sock in tunnels:
                    sock.close()
    return {
        "tunnels": count,
        "empty_mib": round(empty, 1),
        "resident_mib": round(full, 1),
        "kib_per_tunnel": round((full - empty) * 1024 / max(1, count), 2),
    }


async def measure_kills(count: int) -> dict[str, Any]:
    """Seconds from kill -9 until the next gateway has opened a tunnel that was asked for in between. Kills
    follow each other at once, so that the keeper's pauses grow."""
    held: list[socket.socket] = []
    samples = []
    with serving(functools.partial(hole_handle, held), threads=False) as hole_port:
        async with kept_gateway(hole_port) as (port, pid_of):
            (await asyncio.to_thread(tunnel, port)).close()
            for _ in range(count):
                began, former = time.monotonic(), pid_of()
                os.kill(former, signal.SIGKILL)
                (await asyncio.to_thread(tunnel, port)).close()
                samples.append(time.monotonic() - began)
                assert pid_of() != former
    return {"seconds": percentiles(samples, 3), "longest_s": round(max(samples), 3)}


@contextlib.asynccontextmanager
async def kept_gateway(upstream_port: int) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """A gateway in the care of a keeper: its port, and who it is at the moment."""
    names = ("proxy", "dns_tcp", "transparent", "announce")
    tcp = {name: socket.create_server(("127.0.0.1", 0), backlog=128) for name in names}
    udp = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in ("dns_udp", "media")}
    for sock in udp.values():
        sock.bind(("127.0.0.1", 0))
    sockets = GatewaySockets(**tcp, **udp)
    spec = EgressSpec(
        mode=EgressMode.PROXY, upstreams=(Secret(f"http://user:password@127.0.0.1:{upstream_port}"),)
    )
    with tempfile.TemporaryDirectory() as directory:
        place = DesktopPaths(Path(directory))
        journal = Journal(place.journal, "d-aaaaaaaaaa")
        async with asyncio.TaskGroup() as group:
            gateway = KeptGateway(
                sockets, uid=os.getuid(), log=place.keeper_log, access=AccessLog(place.access_log),
                counters=place.egress_counters, journal=journal, spec=spec,
            )  # fmt: skip
            await gateway.start(group)
            await gateway.ready()

            def pid() -> int:
                assert journal.ledger.gateway is not None
                return journal.ledger.gateway["pid"]

            yield sockets.proxy.getsockname()[1], pid
            await gateway.close()
        journal.close()
        sockets.close()


def summarise(traffic: dict[str, Any], idle: dict[str, Any], kills: dict[str, Any]) -> dict[str, Any]:
    base = statistics.median(traffic["ping"]["upstream"])
    figures: dict[str, Any] = {}
    for name in ("ours", "rival"):
        speed = percentiles([item[0] for item in traffic["speed"][name]])
        cpu = percentiles([item[1] for item in traffic["speed"][name]])
        figures[name] = {
            "gbit_per_s": speed,
            "cpu_s_per_gib": cpu,
            "added_latency_ms": round(statistics.median(traffic["ping"][name]) - base, 4),
            "round_trip_ms": percentiles(traffic["ping"][name], 4),
            "connect_ms": percentiles(traffic["connect"][name], 4),
        }
    ours, rival = figures["ours"], figures["rival"]
    return {
        "figure": "the gateway, chained to an upstream that asks for credentials",
        "ours": ours | {"idle": idle, "killed": kills},
        "rival": {"name": RIVAL, **rival},
        "ratio": {
            "throughput": round(ours["gbit_per_s"]["p50"] / rival["gbit_per_s"]["p50"], 2),
            "cpu_per_gib": round(ours["cpu_s_per_gib"]["p50"] / rival["cpu_s_per_gib"]["p50"], 2),
        },
        "upstream_alone": {"round_trip_ms": percentiles(traffic["ping"]["upstream"], 4)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.egress", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--gib", type=float, default=2, help="GiB per download")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=int, default=5000, help="idle tunnels")
    parser.add_argument("--kills", type=int, default=5, help="how often the gateway is killed")
    options = parser.parse_args()
    document = summarise(
        asyncio.run(measure_traffic(options)),
        asyncio.run(measure_idle(options.idle)),
        asyncio.run(measure_kills(options.kills)),
    )
    ours, rival = document["ours"], document["rival"]
    rows = [
        {"": what, "gateway": mine, RIVAL: other}
        for what, mine, other in (
            ("Gbit/s, p50", ours["gbit_per_s"]["p50"], rival["gbit_per_s"]["p50"]),
            ("CPU s per GiB, p50", ours["cpu_s_per_gib"]["p50"], rival["cpu_s_per_gib"]["p50"]),
            ("added latency ms, p50", ours["added_latency_ms"], rival["added_latency_ms"]),
            ("new tunnel ms, p50", ours["connect_ms"]["p50"], rival["connect_ms"]["p50"]),
            (f"MiB with {options.idle} idle tunnels", ours["idle"]["resident_mib"], "-"),
            ("s away when killed, longest", ours["killed"]["longest_s"], "-"),
        )
    ]
    publish("egress", rows, document)


if __name__ == "__main__":
    main()
