"""The controller by itself, over a host without machines: lists, creates, relayed screens, memory.

    .venv/bin/python -m bench.controller [--desktops 1000] [--streams 50] [--mib 16] [--json]

The rival for relaying is websockify, installed beside us for this run and fed by the same source: bytes per
CPU second of the relaying process, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from bench.report import percentiles, publish
from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.model import wire

ROOT = Path(__file__).resolve().parents[1]
WEBSOCKIFY = "websockify==0.13.0"
READY_S = 30.0
AFTER_A_CRASH = 20
PIECE = b"\0" * 65536


@dataclass(frozen=True)
class Load:
    desktops: int
    streams: int
    mib: int  # per stream
    lists: int = 60


def _serve_host(home: str, mib: int, port_to: Any) -> None:
    """Its own process: the fake host, whose screens send `mib` MiB as fast as they are taken; and the same on
    a TCP port, for the rival."""
    fakes: Any = importlib.import_module("tests.fakes.hostd")

    async def send(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(mib * 16):
                writer.write(PIECE)
                await writer.drain()

    async def on_vnc(_self: object, call: wire.Call) -> None:
        await call.answer({})
        await send(call.writer)

    async def on_tcp(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(writer)
        writer.close()

    async def run() -> None:
        fakes.FakeDesktop.on_vnc = on_vnc
        server = await asyncio.start_server(on_tcp, "127.0.0.1", 0)
        async with fakes.FakeHost(Home(Path(home))):
            port_to.send(server.sockets[0].getsockname()[1])
            await asyncio.Event().wait()

    asyncio.run(run())


@contextlib.contextmanager
def host(home: Path, mib: int) -> Iterator[int]:
    """The fake host; its TCP port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve_host, args=(str(home), mib, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


@contextlib.asynccontextmanager
async def porter(home: Path) -> AsyncIterator[psutil.Process]:
    """Who carries the screens once the controller has let them in."""
    command = [sys.executable, "-m", "oriel.porter", "--home", str(home)]
    with (home / "porter.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        async with asyncio.timeout(READY_S):
            while not Home(home).porter_socket.exists():
                await asyncio.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def controller(home: Path) -> AsyncIterator[tuple[psutil.Process, httpx.AsyncClient]]:
    """The controller as a process of its own, and its administrator."""
    command = [sys.executable, "-m", "oriel.controller", "--home", str(home), "--port", "0",
               "--concurrent-starts", "16", "--waiting-starts", "100000", "--pool-size", "0",
               "--keep-templates", "false", "--requests-per-second", "100000",
               "--request-burst", "100000", "--log-level", "warning", "--pool-size", "0",
               # Desktops of this host weigh nothing.
               "--load-limit", "0", "--waiting-starts", "100000", "--memory-share-percent", "1",
               "--memory-reserve-mib", "0"]  # fmt: skip
    with (home / "controller.out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        url = await _ready(Home(home), process)
        token = Home(home).admin_token.read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=120) as http:
            yield psutil.Process(process.pid), http
    finally:
        process.terminate()
        process.wait()


async def _ready(home: Home, process: subprocess.Popen[bytes]) -> str:
    async with asyncio.timeout(READY_S), httpx.AsyncClient(trust_env=False) as http:
        while True:
            if process.poll() is not None:
                raise SystemExit((home.root / "controller.out").read_text())
            record = read_json(home.controller_record)
            if record is not None and (await http.get(f"{record['url']}/readyz")).status_code == 200:
                return str(record["url"])
            await asyncio.sleep(0.05)


async def creates(http: httpx.AsyncClient, count: int) -> dict[str, Any]:
    """Until all run: how many were accepted and how many ran, per second."""
    began = time.monotonic()
    gate = asyncio.Semaphore(20)

    async def one(number: int) -> None:
        async with gate:
            answer = await http.post("/v1/desktops", json={"name": f"n{number}", "memory_mib": 768})
            answer.raise_for_status()

    await asyncio.gather(*(one(number) for number in range(count)))
    accepted = time.monotonic() - began
    while f'oriel_desktops{{state="running"}} {float(count)}' not in (await http.get("/metrics")).text:
        await asyncio.sleep(0.05)
    ran = time.monotonic() - began
    return {
        "count": count,
        "accepted_per_s": round(count / accepted, 1),
        "running_per_s": round(count / ran, 1),
    }


async def lists(http: httpx.AsyncClient, times: int, count: int) -> dict[str, Any]:
    """Milliseconds of GET /v1/desktops with all of them in one page."""
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await http.get("/v1/desktops", params={"limit": 1000})
        samples.append((time.perf_counter() - began) * 1000)
        assert len(answer.json()["items"]) == min(count, 1000)
    return percentiles(samples)


async def relay(processes: list[psutil.Process], urls: list[dict[str, Any]], mib: int) -> dict[str, Any]:
    """All streams at once, to their ends; bytes per second, and per CPU second of all that relays."""
    before, began = sum(map(_cpu_s, processes)), time.monotonic()
    taken = await asyncio.gather(*(_drain(**url) for url in urls))
    wall, cpu = time.monotonic() - began, sum(map(_cpu_s, processes)) - before
    total = sum(taken)
    assert total == len(urls) * mib << 20, (total, len(urls) * mib << 20)
    return {
        "streams": len(urls), "mib": total >> 20, "seconds": round(wall, 2), "cpu_s": round(cpu, 3),
        "mib_per_cpu_s": round((total >> 20) / cpu, 1), "mib_per_s": round((total >> 20) / wall, 1),
    }  # fmt: skip


async def _drain(uri: str, **options: Any) -> int:
    taken = 0
    async with connect(
        uri, compression=None, max_size=None, proxy=None, open_timeout=60, **options
    ) as stream:
        async for message in stream:
            taken += len(message)
    return taken


def _cpu_s(process: psutil.Process) -> float:
    """Of a process, its living children and those it has reaped."""
    used = process.cpu_times()
    total: float = used.user + used.system + used.children_user + used.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


async def ours(processes: list[psutil.Process], http: httpx.AsyncClient, load: Load) -> dict[str, Any]:
    base = str(http.base_url).rstrip("/")
    urls = []
    for number in range(load.streams):
        answer = await http.post(f"/v1/desktops/n{number}/tickets", json={"ttl_s": 600})
        urls.append({
            "uri": f"ws{base.removeprefix('http')}/v1/desktops/n{number}/vnc", "origin": Origin(base),
            "subprotocols": [Subprotocol("binary"), Subprotocol(f"ticket.{answer.json()['ticket']}")],
        })  # fmt: skip
    return await relay(processes, urls, load.mib)


async def rival(port: int, load: Load, directory: Path) -> dict[str, Any]:
    """websockify in front of the same source. It forks for every stream."""
    target = directory / "websockify"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        WEBSOCKIFY,
    ]
    subprocess.run(install, check=True, stdout=sys.stderr)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "websockify", f"127.0.0.1:{listen}", f"127.0.0.1:{port}"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(target)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory,
    )  # fmt: skip
    try:
        async with asyncio.timeout(READY_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", listen)
                    writer.close()
                    break
                await asyncio.sleep(0.1)
        urls = [{"uri": f"ws://127.0.0.1:{listen}", "subprotocols": [Subprotocol("binary")]}] * load.streams
        return await relay([psutil.Process(process.pid)], urls, load.mib)
    finally:
        process.terminate()
        process.wait()


async def readopted(
    home: Path, process: psutil.Process, http: httpx.AsyncClient, count: int
) -> dict[str, Any]:
    """Seconds from a kill -9 of the controller to a new one that is ready and has met `count` desktops.

    The host and its desktops go on; ready is what /readyz says, which waits for every desktop.
    """
    known = (await http.get("/v1/desktops", params={"limit": 1000})).json()["items"]
    before = {one["id"]: one["state"] for one in known}
    assert list(before.values()) == ["running"] * count
    process.kill()
    process.wait()
    (home / "controller/controller.json").unlink()
    began = time.monotonic()
    async with controller(home) as (_, again):
        ready = time.monotonic() - began
        found = (await again.get("/v1/desktops", params={"limit": 1000})).json()["items"]
        assert {one["id"]: one["state"] for one in found} == before
    return {"desktops": count, "seconds": round(ready, 2)}


async def run(load: Load) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ob-") as directory:
        home = Path(directory)
        with host(home, load.mib) as port:
            async with porter(home) as carrier, controller(home) as (process, http):
                made = await creates(http, load.desktops)
                listed = await lists(http, load.lists, load.desktops)
                relayed = await ours([process, carrier], http, load)
                resident = process.memory_info().rss / (1 << 20)
                carrying = carrier.memory_info().rss / (1 << 20)
            other = await rival(port, load, home)
    with tempfile.TemporaryDirectory(prefix="ob-") as directory:
        home = Path(directory)
        with host(home, load.mib):
            async with controller(home) as (process, http):
                await creates(http, AFTER_A_CRASH)
                back = await readopted(home, process, http, AFTER_A_CRASH)
    return {
        "creates": made,
        "list_ms": listed,
        "relay": {
            "ours": relayed,
            "websockify": other,
            "ratio": round(relayed["mib_per_cpu_s"] / other["mib_per_cpu_s"], 2),
        },
        "resident_mib": round(resident, 1),
        "porter_resident_mib": round(carrying, 1),
        "back_after_kill": back,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The controller over a host without machines.")
    parser.add_argument("--desktops", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--mib", type=int, default=16, help="bytes of each stream")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: stdout is JSON anyway")
    options = parser.parse_args()
    found = asyncio.run(run(Load(options.desktops, options.streams, options.mib)))
    listed, relayed = found["list_ms"], found["relay"]
    figures = [
        (f"list {options.desktops} desktops, ms", listed["p50"], "–", "–"),
        ("creates accepted / s", found["creates"]["accepted_per_s"], "–", "–"),
        ("creates running / s", found["creates"]["running_per_s"], "–", "–"),
        ("relayed MiB / CPU s (websockify)", relayed["ours"]["mib_per_cpu_s"],
         relayed["websockify"]["mib_per_cpu_s"], relayed["ratio"]),
        ("resident MiB", found["resident_mib"], "–", "–"),
        (f"back after kill -9, {AFTER_A_CRASH} desktops, s", found["back_after_kill"]["seconds"], "–", "–"),
    ]  # fmt: skip
    rows = [dict(zip(("figure", "ours", "rival", "ratio"), figure, strict=True)) for figure in figures]
    publish("controller", rows, found)


if __name__ == "__main__":
    main()
