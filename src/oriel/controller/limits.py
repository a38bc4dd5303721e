"""How often somebody may ask: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Callable

from oriel.model.errors import BusyError

__all__ = ["Limits"]

MOST = 10_000
FAILURES_PER_S, FAILURE_BURST = 1.0, 30.0


class Limits:
    """In memory: one controller, one count."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> None:
        """One request of `who`. BusyError, with when to come again, if there were too many."""
        self._take(who, self._per_s, self._burst)

    def check_failures(self, address: str) -> None:
        """BusyError if `address` has failed to say who it is too often."""
        level, _ = self._level(f"failed {address}", FAILURES_PER_S, FAILURE_BURST)
        if level < 1:
            raise _busy((1 - level) / FAILURES_PER_S)

    def note_failure(self, address: str) -> None:
        key = f"failed {address}"
        level, now = self._level(key, FAILURES_PER_S, FAILURE_BURST)
        self._buckets[key] = (max(0.0, level - 1), now)

    def _take(self, key: str, per_s: float, burst: float) -> None:
        level, now = self._level(key, per_s, burst)
        if level < 1:
            raise _busy((1 - level) / per_s)
        if len(self._buckets) > MOST:
            # All that are full again say nothing.
            self._buckets = {
                name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < burst / per_s
            }
        self._buckets[key] = (level - 1, now)

    def _level(self, key: str, per_s: float, burst: float) -> tuple[float, float]:
        now = self._clock()
        level, at = self._buckets.get(key, (burst, now))
        return min(burst, level + (now - at) * per_s), now


def _busy(wait_s: float) -> BusyError:
    return BusyError(
        "too many requests", retry_after_s=max(1.0, wait_s), hint="wait as long as Retry-After says"
    )
