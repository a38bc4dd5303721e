"""What went through: counters, the latency histogram, the byte budget."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Budget", "Histogram", "Ledger"]

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, as Prometheus has them, in milliseconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    count: int = 0
    total_ms: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_MS, seconds * 1000)] += 1
        self.count += 1
        self.total_ms += seconds * 1000

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket in which that share lies; None if nothing was counted."""
        seen = 0
        for bound, count in zip((*BOUNDS_MS, BOUNDS_MS[-1]), self.counts, strict=True):
            seen += count
            if self.count and seen >= share * self.count:
                return float(bound)
        return None

    def to_json(self) -> dict[str, Any]:
        below = 0
        buckets = {}
        for bound, count in zip(BOUNDS_MS, self.counts, strict=False):
            below += count
            buckets[str(bound)] = below
        buckets["+Inf"] = self.count
        return {
            "count": self.count, "sum": round(self.total_ms, 3), "buckets": buckets,
            "p50": self.quantile(0.5), "p95": self.quantile(0.95),
        }  # fmt: skip


@dataclass(slots=True)
class Ledger:
    """Counters since the gateway began. `bytes_in` is towards the guest."""

    bytes_in: int = 0
    bytes_out: int = 0
    connections: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    upstream_errors: int = 0
    upstream_ok: bool | None = None  # None: not tried yet
    exit_ip: str = ""
    latency: Histogram = field(default_factory=Histogram)  # of connecting, through the upstream

    @property
    def transferred(self) -> int:
        return self.bytes_in + self.bytes_out


class Budget:
    """A token bucket of one second's depth. `rate` 0 is no limit."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._tokens = float(rate)
        self._at: float | None = None

    def take(self, count: int, now: float) -> float:
        """Spend `count` (it may go into debt); how many seconds to wait before spending more."""
        if not self.rate:
            return 0.0
        self._refill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self.rate)

    def try_take(self, now: float) -> bool:
        """Spend one if there is one."""
        if not self.rate:
            return True
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(float(self.rate), self._tokens + (now - self._at) * self.rate)
        self._at = now
