"""A line that takes its time and loses: two network namespaces, and this program between their TUNs.

The kernels this is run on may have no netem. So each packet is read here, kept for half of the round trip,
and handed on, or not. That is Python: some ten thousand packets a second, and some of the processor that is
measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import multiprocessing
import os
import random
import secrets
import select
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HERE", "line"]

HERE, THERE = "192.0.2.1", "192.0.2.2"  # RFC 5737: documentation
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET = 1 << 16
QUEUE = 1000  # packets each way, as a router's


def _tun(name: str) -> int:
    opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(opened, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return opened


def _carry(ends: tuple[int, int], delay_s: float, loss: float) -> None:
    """Until killed."""
    os.setpriority(os.PRIO_PROCESS, 0, -15)  # a line is not slower because its ends are busy
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select(ends, (), (), wait)
        for end in readable:
            packet = os.read(end, PACKET)
            if random.random() >= loss and len(under_way) < 2 * QUEUE:
                count += 1
                heapq.heappush(under_way, (time.monotonic() + delay_s, count, other[end], packet))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, end, packet = heapq.heappop(under_way)
            with contextlib.suppress(BlockingIOError):  # a full device: lost, as on any line
                os.write(end, packet)


@contextlib.contextmanager
def line(round_trip_ms: float, loss: float) -> Iterator[Path]:
    """Chromium's program at the far end, where this end is HERE. `loss`: 0 to 1. Needs to be root."""
    space = f"bench-{secrets.token_hex(3)}"
    near, far = f"n-{space[-6:]}", f"f-{space[-6:]}"
    ends = _tun(near), _tun(far)
    subprocess.run(["ip", "netns", "add", space], check=True)
    carrier = multiprocessing.get_context("fork").Process(
        target=_carry, args=(ends, round_trip_ms / 2000, loss), daemon=True
    )
    try:
        inside = ["ip", "-n", space]
        for command in (
            ["ip", "link", "set", far, "netns", space],
            ["ip", "address", "add", HERE, "peer", THERE, "dev", near],
            ["ip", "link", "set", near, "up"],
            [*inside, "address", "add", THERE, "peer", HERE, "dev", far],
            [*inside, "link", "set", far, "up"],
            [*inside, "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)
        carrier.start()
        with tempfile.TemporaryDirectory(prefix="bench-line-") as place:
            program = Path(place) / "chromium"
            program.write_text(f'#!/bin/sh\nexec ip netns exec {space} {shutil.which("chromium")} "$@"\n')
            program.chmod(0o755)
            yield program
    finally:
        if carrier.pid is not None:
            carrier.terminate()
            carrier.join()
        for end in ends:
            os.close(end)
        subprocess.run(["ip", "netns", "delete", space], check=True)
