"""The controller by itself, over a host without machines: lists, creates, relayed screens, memory.

    .venv/bin/python -m bench.controller [--desktops 1000] [--streams 50] [--mib 16] [--part PART…] [--json]

Parts, each by itself in a minute or three: `many` (creates, lists, memory), `relay`, `revoke` and `back`; all
of them, if none is named.
The rival for relaying is websockify, installed beside us for this run and fed by the same source: bytes per
CPU second of the relaying process, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from bench.relaying import cpu_s, ours, rival
from bench.report import percentiles, publish
from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.model import wire

ROOT = Path(__file__).resolve().parents[1]
READY_S = 30.0
AFTER_A_CRASH = 20
PARTS = ("many", "relay", "revoke", "back")
PIECE = b"\0" * 65536


@dataclass(frozen=True)
class Load:
    desktops: int
    streams: int
    mib: int  # per stream
    lists: int = 60


def _serve_host(home: str, mib: int, port_to: Any) -> None:
    """Its own process: the fake host, whose screens send `mib` MiB as fast as they are taken (0: they
    stand still); and the same on a TCP port, for the rival."""
    fakes: Any = importlib.import_module("tests.fakes.hostd")

    async def send(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(mib * 16):
                writer.write(PIECE)
                await writer.drain()

    async def on_vnc(_self: object, call: wire.Call) -> None:
        await call.answer({})
        await send(call.writer)
        if not mib:
            await call.reader.read()  # a screen that stands still

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
    async with controller(home) as (fresh, again):
        ready = time.monotonic() - began
        cpu = cpu_s(fresh)
        found = (await again.get("/v1/desktops", params={"limit": 1000})).json()["items"]
        assert {one["id"]: one["state"] for one in found} == before
    return {"desktops": count, "seconds": round(ready, 2), "cpu_s": round(cpu, 2)}


async def revoked(http: httpx.AsyncClient, streams: int) -> dict[str, Any]:
    """Milliseconds from asking to revoke a token until each screen that it opened is closed."""
    made = (await http.post("/v1/tokens", json={"user": "admin", "name": "taken back"})).json()
    base = str(http.base_url).rstrip("/")
    address = f"ws{base.removeprefix('http')}/v1/desktops/n%d/vnc"
    closed: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(
                connect(
                    address % number, compression=None, max_size=None, proxy=None, open_timeout=60,
                    origin=Origin(base), additional_headers={"Authorization": f"Bearer {made['token']}"},
                )
            )
            for number in range(streams)
        ]  # fmt: skip

        async def until_closed(socket: ClientConnection) -> None:
            await socket.wait_closed()
            closed.append((time.perf_counter() - began) * 1000)

        waiting = [asyncio.create_task(until_closed(socket)) for socket in sockets]
        began = time.perf_counter()
        (await http.delete(f"/v1/tokens/{made['id']}")).raise_for_status()
        await asyncio.gather(*waiting)
    return {"screens": streams, **percentiles(closed), "last_ms": round(max(closed), 1)}


@contextlib.asynccontextmanager
async def world(
    mib: int, desktops: int
) -> AsyncIterator[tuple[Path, int, list[psutil.Process], httpx.AsyncClient]]:
    """A home, the rival's port, porter and controller, and the administrator of so many desktops."""
    with tempfile.TemporaryDirectory(prefix="ob-") as directory, host(Path(directory), mib) as port:
        home = Path(directory)
        async with porter(home) as carrier, controller(home) as (process, http):
            if desktops:
                await creates(http, desktops)
            yield home, port, [process, carrier], http


async def many(load: Load) -> dict[str, Any]:
    async with world(0, 0) as (_, _, processes, http):
        made = await creates(http, load.desktops)
        listed = await lists(http, load.lists, load.desktops)
        resident, carrying = (one.memory_info().rss / (1 << 20) for one in processes)
    return {
        "creates": made,
        "list_ms": listed,
        "resident_mib": round(resident, 1),
        "porter_resident_mib": round(carrying, 1),
    }


async def relayed(load: Load) -> dict[str, Any]:
    async with world(load.mib, load.streams) as (home, port, processes, http):
        mine = await ours(processes, http, load.streams, load.mib)
        other = await rival(port, load.streams, load.mib, home)
    ratio = round(mine["mib_per_cpu_s"] / other["mib_per_cpu_s"], 2)
    return {"relay": {"ours": mine, "websockify": other, "ratio": ratio}}


async def taken_back(load: Load) -> dict[str, Any]:
    async with world(0, load.streams) as (_, _, _, http):
        return {"revoked": await revoked(http, load.streams)}


async def back(_load: Load) -> dict[str, Any]:
    async with world(0, AFTER_A_CRASH) as (home, _, (process, _), http):
        return {"back_after_kill": await readopted(home, process, http, AFTER_A_CRASH)}


async def run(load: Load, parts: Sequence[str]) -> dict[str, Any]:
    measures = {"many": many, "relay": relayed, "revoke": taken_back, "back": back}
    found: dict[str, Any] = {}
    for part in parts or PARTS:
        found |= await measures[part](load)
    return found


def figures(found: dict[str, Any]) -> Iterator[tuple[str, Any, Any, Any]]:
    """Rows of the people's table: what, ours, the rival's, the ratio."""
    if "creates" in found:
        count = found["creates"]["count"]
        yield f"list {count} desktops, ms", found["list_ms"]["p50"], "–", "–"
        yield "creates accepted / s", found["creates"]["accepted_per_s"], "–", "–"
        yield "creates running / s", found["creates"]["running_per_s"], "–", "–"
        yield f"resident MiB with {count}", found["resident_mib"], "–", "–"
    if relay := found.get("relay"):
        mine, other = relay["ours"]["mib_per_cpu_s"], relay["websockify"]["mib_per_cpu_s"]
        yield f"{relay['ours']['streams']} streams, MiB / CPU s (websockify)", mine, other, relay["ratio"]
    if took := found.get("revoked"):
        yield f"last of {took['screens']} screens closed after a revocation, ms", took["last_ms"], "–", "–"
    if again := found.get("back_after_kill"):
        yield f"back after kill -9, {again['desktops']} desktops, s", again["seconds"], "–", "–"
        yield "of it processor time of the new one, s", again["cpu_s"], "–", "–"


def main() -> None:
    parser = argparse.ArgumentParser(description="The controller over a host without machines.")
    parser.add_argument("--desktops", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--mib", type=int, default=16, help="bytes of each stream")
    parser.add_argument(
        "--part", choices=PARTS, action="append", default=[], help="only this; again for more"
    )
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: stdout is JSON anyway")
    options = parser.parse_args()
    found = asyncio.run(run(Load(options.desktops, options.streams, options.mib), options.part))
    names = ("figure", "ours", "rival", "ratio")
    publish("controller", [dict(zip(names, row, strict=True)) for row in figures(found)], found)


if __name__ == "__main__":
    main()
