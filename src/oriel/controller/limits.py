"""How often somebody may ask: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Callable

from oriel.model.errors import BusyError

__all__ = ["Limits"]

MOST = 10_000
# (per second, at once) of failures to say who one is: from an address; for an account from an address;
# for an account from anywhere, where more would be a whole network guessing.
FROM_ADDRESS, FOR_ACCOUNT_FROM_ADDRESS, FOR_ACCOUNT = (1.0, 30.0), (1 / 30, 5.0), (1 / 6, 50.0)
FORGET_S = 300.0


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

    def check_failures(self, address: str, account: str = "") -> None:
        """BusyError if `address`, or somebody for `account`, has failed to say who it is too often."""
        for key, per_s, burst in _failures(address, account):
            level, _ = self._level(key, per_s, burst)
            if level < 1:
                raise _busy((1 - level) / per_s)

    def note_failure(self, address: str, account: str = "") -> None:
        for key, per_s, burst in _failures(address, account):
            level, now = self._level(key, per_s, burst)
            self._buckets[key] = (max(0.0, level - 1), now)
            self._drop_full(now)

    def _take(self, key: str, per_s: float, burst: float) -> None:
        level, now = self._level(key, per_s, burst)
        if level < 1:
            raise _busy((1 - level) / per_s)
        self._drop_full(now)
        self._buckets[key] = (level - 1, now)

    def _drop_full(self, now: float) -> None:
        """All that are full again say nothing; the slowest takes FORGET_S for that."""
        if len(self._buckets) > MOST:
            self._buckets = {
                name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < FORGET_S
            }

    def _level(self, key: str, per_s: float, burst: float) -> tuple[float, float]:
        now = self._clock()
        level, at = self._buckets.get(key, (burst, now))
        return min(burst, level + (now - at) * per_s), now


def _failures(address: str, account: str) -> list[tuple[str, float, float]]:
    """The buckets of one failure."""
    buckets = [(f"failed {address}", *FROM_ADDRESS)]
    if account:
        buckets += [
            (f"failed {account} {address}", *FOR_ACCOUNT_FROM_ADDRESS), (f"failed {account}", *FOR_ACCOUNT),
        ]  # fmt: skip
    return buckets


def _busy(wait_s: float) -> BusyError:
    return BusyError(
        "too many requests", retry_after_s=max(1.0, wait_s), hint="wait as long as Retry-After says"
    )
