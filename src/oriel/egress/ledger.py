"""What went through: counters that outlive every process, the latency histogram, the byte budget."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path
from typing import Any

from oriel.egress.policy import Reason
from oriel.model.errors import HostError, NoSpaceError

__all__ = ["Budget", "Histogram", "Ledger", "mapped", "open_counters", "read_counters"]

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

# The file: numbers of 64 bits in the host's order, each at its place for ever; new ones come where zeros are.
SIZE = 4096
MARK = int.from_bytes(b"oriel\0c1", "little")
_MARK, _BYTES_IN, _BYTES_OUT, _CONNECTIONS, _UPSTREAM_ERRORS, _QUOTA_ROUND, _QUOTA_BASE = range(7)
_LATENCY, _DENIED = 64, 128
_PLACES = {reason: place for place, reason in enumerate(Reason)}


class Histogram:
    """Counts per bucket, as Prometheus has them, in milliseconds. `words`: the sum in microseconds, then the
    buckets."""

    WORDS = 1 + len(BOUNDS_MS) + 1

    def __init__(self, words: memoryview[int] | None = None) -> None:
        self._words = _zeros(self.WORDS) if words is None else words

    def add(self, seconds: float) -> None:
        self._words[0] += round(seconds * 1e6)
        self._words[1 + bisect_left(BOUNDS_MS, seconds * 1000)] += 1

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket in which that share lies; None if nothing was counted."""
        counts, seen = self._words[1:].tolist(), 0
        whole = sum(counts)
        for bound, count in zip((*BOUNDS_MS, BOUNDS_MS[-1]), counts, strict=True):
            seen += count
            if whole and seen >= share * whole:
                return float(bound)
        return None

    def to_json(self) -> dict[str, Any]:
        below = list(accumulate(self._words[1:].tolist()))
        buckets = dict(zip((*map(str, BOUNDS_MS), "+Inf"), below, strict=True))
        return {
            "count": below[-1], "sum": self._words[0] / 1000, "buckets": buckets,
            "p50": self.quantile(0.5), "p95": self.quantile(0.95),
        }  # fmt: skip


class Ledger:
    """What a desktop has used its way out for since it was made. `bytes_in` is towards the guest.

    Numbers of 64 bits in memory that may be a file's (`open_counters`): then what was counted is there
    however the gateway ends, and the next one goes on from it. What is only true now, `upstream_ok` and
    `exit_ip`, is not in there.
    """

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        """InvalidError if `memory` holds something else."""
        self._words = _zeros(SIZE // 8) if memory is None else memoryview(memory).cast("Q")
        if self._words[_MARK] not in (0, MARK):
            raise HostError("this is no file of counters", hint="move it away; counting begins anew then")
        self._words[_MARK] = MARK
        self.latency = Histogram(self._words[_LATENCY : _LATENCY + Histogram.WORDS])  # of connecting
        self.upstream_ok: bool | None = None  # None: not tried yet
        self.exit_ip = ""

    def count_in(self, count: int) -> None:
        self._words[_BYTES_IN] += count

    def count_out(self, count: int) -> None:
        self._words[_BYTES_OUT] += count

    def count_connection(self) -> None:
        self._words[_CONNECTIONS] += 1

    def count_upstream_error(self) -> None:
        self._words[_UPSTREAM_ERRORS] += 1

    def count_denial(self, reason: Reason) -> None:
        self._words[_DENIED + _PLACES[reason]] += 1

    def begin_quota(self, number: int) -> None:
        """The quota's round `number`: nothing of it is used. Nothing happens if it has begun before."""
        if number > self._words[_QUOTA_ROUND]:
            self._words[_QUOTA_BASE] = self._transferred
            self._words[_QUOTA_ROUND] = number

    @property
    def quota_used(self) -> int:
        """Bytes both ways since the quota's round began."""
        return self._transferred - self._words[_QUOTA_BASE]

    @property
    def _transferred(self) -> int:
        return self._words[_BYTES_IN] + self._words[_BYTES_OUT]

    def to_json(self) -> dict[str, Any]:
        words = self._words
        denied = {str(reason): count for reason in Reason if (count := words[_DENIED + _PLACES[reason]])}
        return {
            "exit_ip": self.exit_ip,
            "bytes_in": words[_BYTES_IN],
            "bytes_out": words[_BYTES_OUT],
            "connections": words[_CONNECTIONS],
            "denied": sum(denied.values()),
            "denied_by_reason": denied,
            "upstream_errors": words[_UPSTREAM_ERRORS],
            "upstream_ok": self.upstream_ok,
            "latency_ms": self.latency.to_json(),
            "quota_used": self.quota_used,
        }


def open_counters(path: Path) -> int:
    """A descriptor of the file, made if it is not there, with all its room on the disk: writing to its memory
    cannot fail later. NoSpaceError."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.posix_fallocate(fd, 0, SIZE)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise NoSpaceError(
            f"{path} cannot be written: {error.strerror}",
            hint="free space on the file system of the home directory",
        ) from error
    return fd


def mapped(fd: int) -> Ledger:
    """The ledger in a file of `open_counters`. The descriptor may be closed afterwards."""
    return Ledger(mmap.mmap(fd, SIZE))


def read_counters(path: Path) -> dict[str, Any]:
    """What the ledger in `path` says now, also beside the gateway that writes it; zeros without a file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    memory = mmap.mmap(-1, SIZE)
    memory.write(data[:SIZE])
    return Ledger(memory).to_json()


def _zeros(words: int) -> memoryview[int]:
    return memoryview(bytearray(8 * words)).cast("Q")


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
