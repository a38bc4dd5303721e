"""How busy this host is: measured, not reckoned from what was promised to whom."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ProcessorMeter", "load_average", "memory_available_mib"]

SHORTEST_S = 0.5  # two readings nearer than this say nothing


def load_average() -> float:
    """Tasks that ran or waited to run or for the disk, over the last minute (proc(5), loadavg)."""
    return os.getloadavg()[0]


def memory_available_mib() -> int:
    """What can be given to programs without taking it from others (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return 0


@dataclass
class ProcessorMeter:
    """Which share of all processors was used between two readings, 0 to 1."""

    _at: float = field(default_factory=time.monotonic)
    _ticks: tuple[int, int] = field(default_factory=lambda: _ticks())  # noqa: PLW0108 - it is defined below
    _busy: float = 0.0

    def busy(self) -> float:
        """Since the last reading that is old enough to compare with."""
        now = time.monotonic()
        if now - self._at >= SHORTEST_S:
            used, total = _ticks()
            passed = total - self._ticks[1]
            self._busy = (used - self._ticks[0]) / passed if passed > 0 else self._busy
            self._at, self._ticks = now, (used, total)
        return self._busy


def _ticks() -> tuple[int, int]:
    """Used, and all there were (proc(5), stat: user nice system idle iowait irq softirq steal …)."""
    fields = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)
