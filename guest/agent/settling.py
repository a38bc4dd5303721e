"""Making a desktop fit for a template: idle, warm, and without a seed that its copies would share."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from pathlib import Path

from agent.display import Display
from agent.readiness import wait_ready

__all__ = ["settle"]

# What a copy does in its first second: imported here once, instead of by each of them.
FIRST_NEEDED = (
    "caller", "clipboard", "environment", "execution", "files", "identity", "input", "kernel", "keyboard",
    "loopback", "paint", "program", "readiness", "reader", "replacement", "screen", "session", "units",
    "windows",
)  # fmt: skip
RANDOM_SEED = Path("/var/lib/systemd/random-seed")
SAMPLE_S = 1.0  # a share of time needs a span of time
QUIET_SAMPLES = 3
QUIET_SHARE = 0.12  # of all processors' time; an idle desktop under emulation takes some 5 %
KINDS = ("terminal", "browser")


async def settle(display: Display, *, least_s: float, deadline_s: float) -> dict[str, float | bool]:
    """Until the desktop is quiet, and `least_s` have passed; if it was not within `deadline_s`, `quiet` is
    False."""
    started = time.monotonic()
    for name in FIRST_NEEDED:
        importlib.import_module(f"agent.{name}")
    for _ in range(2):  # the second time shows that the first has left everything in place
        await wait_ready(display, KINDS, deadline_s=deadline_s)
    await asyncio.to_thread(RANDOM_SEED.unlink, missing_ok=True)
    await asyncio.sleep(least_s - (time.monotonic() - started))
    quiet, before = 0, _busy()
    while quiet < QUIET_SAMPLES and time.monotonic() - started < deadline_s:
        await asyncio.sleep(SAMPLE_S)
        now = _busy()
        share = (now[0] - before[0]) / max(1, now[1] - before[1])
        quiet, before = (quiet + 1 if share <= QUIET_SHARE else 0), now
    await asyncio.to_thread(os.sync)
    return {"quiet": quiet >= QUIET_SAMPLES, "seconds": time.monotonic() - started}


def _busy() -> tuple[int, int]:
    """Ticks that all processors together were busy, and all ticks (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
