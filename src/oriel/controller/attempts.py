"""What failed, and when it is worth another attempt: after a pause that grows with each failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Attempts"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class _Failure:
    why: str
    pause_s: float
    due: float


class Attempts(Generic[K]):
    """By what is attempted. The first pause is `first_s`; each is twice the one before, up to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_s, self._longest_s, self._clock = first_s, longest_s, clock
        self._failures: dict[K, _Failure] = {}

    def due(self, what: K) -> bool:
        """Whether it has not failed, or long enough ago."""
        failure = self._failures.get(what)
        return failure is None or self._clock() >= failure.due

    def failed(self, what: K, why: str) -> None:
        before = self._failures.get(what)
        pause_s = self._first_s if before is None else min(before.pause_s * 2, self._longest_s)
        self._failures[what] = _Failure(why, pause_s, self._clock() + pause_s)

    def succeeded(self, what: K) -> None:
        """The next failure is its first."""
        self._failures.pop(what, None)

    def problem(self, what: K) -> str:
        """Why the last attempt failed; "" if it did not."""
        failure = self._failures.get(what)
        return "" if failure is None else failure.why
