"""Screens relayed by controller and porter, and by websockify, in the same run: bytes per CPU second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

__all__ = ["cpu_s", "ours", "rival"]

WEBSOCKIFY = "websockify==0.13.0"
READY_S = 30.0


async def ours(
    processes: list[psutil.Process], http: httpx.AsyncClient, streams: int, mib: int
) -> dict[str, Any]:
    base = str(http.base_url).rstrip("/")
    urls = []
    for number in range(streams):
        answer = await http.post(f"/v1/desktops/n{number}/tickets", json={"ttl_s": 600})
        urls.append({
            "uri": f"ws{base.removeprefix('http')}/v1/desktops/n{number}/vnc", "origin": Origin(base),
            "subprotocols": [Subprotocol("binary"), Subprotocol(f"ticket.{answer.json()['ticket']}")],
        })  # fmt: skip
    return await _relay(processes, urls, mib)


async def rival(port: int, streams: int, mib: int, directory: Path) -> dict[str, Any]:
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
        urls = [{"uri": f"ws://127.0.0.1:{listen}", "subprotocols": [Subprotocol("binary")]}] * streams
        return await _relay([psutil.Process(process.pid)], urls, mib)
    finally:
        process.terminate()
        process.wait()


async def _relay(processes: list[psutil.Process], urls: list[dict[str, Any]], mib: int) -> dict[str, Any]:
    """All streams at once, to their ends; bytes per second, and per CPU second of all that relays."""
    before, began = sum(map(cpu_s, processes)), time.monotonic()
    taken = await asyncio.gather(*(_drain(**url) for url in urls))
    wall, cpu = time.monotonic() - began, sum(map(cpu_s, processes)) - before
    total = sum(taken)
    assert total == len(urls) * mib << 20, (total, len(urls) * mib << 20)
    return {
        "streams": len(urls), "mib": total >> 20, "seconds": round(wall, 2), "cpu_s": round(cpu, 3),
        "mib_percpu_s": round((total >> 20) / cpu, 1), "mib_per_s": round((total >> 20) / wall, 1),
    }  # fmt: skip


async def _drain(uri: str, **options: Any) -> int:
    taken = 0
    async with connect(
        uri, compression=None, max_size=None, proxy=None, open_timeout=60, **options
    ) as stream:
        async for message in stream:
            taken += len(message)
    return taken


def cpu_s(process: psutil.Process) -> float:
    """Of a process, its living children and those it has reaped."""
    used = process.cpu_times()
    total: float = used.user + used.system + used.children_user + used.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total
