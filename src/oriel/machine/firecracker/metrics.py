"""What Firecracker counts: lines of JSON through a pipe, one a minute and one whenever it is asked.

Most of its counters tell what came since the line before, so they are added up here. The pipe is bounded: a
machine without a keeper fills no disk, Firecracker drops what does not fit.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["COUNTED", "FAULTS", "Metrics", "Totals"]

PIPE_BYTES = 1 << 18  # a line has some 15 KiB
F_SETPIPE_SZ = 1031  # <linux/fcntl.h>
CHUNK = 1 << 16
LIMIT_BYTES = 1 << 20  # of a line

# Counters that say something went wrong, wherever they are not 0 (docs/metrics.md of Firecracker). The first
# ones tell how often ever, the others since the line before.
EVER = (
    "seccomp.num_faults", "vmm.panic_count", "signals.sigbus", "signals.sigsegv", "signals.sigill",
    "signals.sigxfsz", "signals.sigxcpu",
)  # fmt: skip
FAULTS = (
    *EVER, "vcpu.failures", "block.event_fails", "block.execute_fails", "net.event_fails", "net.rx_fails",
    "net.tx_fails", "net.tap_read_fails", "net.tap_write_fails", "balloon.event_fails",
    "balloon.free_page_report_fails", "entropy.entropy_event_fails",
)  # fmt: skip
# What an operator wants to see of a machine at work.
COUNTED = (
    "vcpu.exit_io_in", "vcpu.exit_io_out", "vcpu.exit_mmio_read", "vcpu.exit_mmio_write",
    "block.read_bytes", "block.write_bytes", "block.read_count", "block.write_count", "block.flush_count",
    "block.rate_limiter_throttled_events", "net.rx_bytes_count", "net.tx_bytes_count",
    "net.rx_packets_count", "net.tx_packets_count", "net.rx_rate_limiter_throttled",
    "net.tx_rate_limiter_throttled", "balloon.free_page_report_count", "balloon.free_page_report_freed",
)  # fmt: skip


class Totals:
    """Counters by their names, as `block.read_bytes`, since the first line that was seen."""

    def __init__(self) -> None:
        self._all = dict.fromkeys((*FAULTS, *COUNTED), 0)

    def add(self, told: Mapping[str, Any]) -> None:
        """One line. What is not there, or no number, counts nothing."""
        for name in self._all:
            group, _, counter = name.partition(".")
            values = told.get(group)
            value = values.get(counter) if isinstance(values, dict) else None
            if isinstance(value, int) and value > 0:
                self._all[name] = max(self._all[name], value) if name in EVER else self._all[name] + value

    @property
    def faults(self) -> dict[str, int]:
        """Those that say something went wrong."""
        return {name: self._all[name] for name in FAULTS if self._all[name]}

    @property
    def counted(self) -> dict[str, int]:
        return {name: self._all[name] for name in COUNTED}


class Metrics:
    """The pipe's reading end, driven by the running event loop."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe
        self._fd: int | None = None
        self._torn = b""
        self._news: asyncio.Event | None = None
        self.totals = Totals()

    def open(self) -> None:
        """Begin reading. The pipe must be there; it may be one that a former keeper read."""
        if self._fd is None:
            self._news = asyncio.Event()
            self._fd = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(self._fd, F_SETPIPE_SZ, PIPE_BYTES)
            asyncio.get_running_loop().add_reader(self._fd, self._take)

    async def next(self) -> None:
        """Until the next line has been added; the caller sets the deadline."""
        if self._news is not None:
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """Take what is still in the pipe; idempotent."""
        while self._fd is not None and self._take():
            pass
        self._release()

    def _take(self) -> bool:
        """One chunk; whether there may be more."""
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:  # no writer: it has not opened the pipe yet, or has ended
            self._quiet()
            return False
        *whole, self._torn = (self._torn + data).split(b"\n")
        self._torn = self._torn[-LIMIT_BYTES:]
        for line in whole:
            self._keep(line)
        return True

    def _keep(self, line: bytes) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return  # cut by a full pipe
        if isinstance(told, dict):
            self.totals.add(told)
            if self._news is not None:
                self._news.set()

    def _quiet(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)

    def _release(self) -> None:
        if self._fd is not None:
            self._quiet()
            os.close(self._fd)
            self._fd = None
