"""How many desktops of which kind are worth keeping ready, told by what was asked for lately."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from oriel.controller.kinds import Kind

__all__ = ["Demand", "most_at_once"]

LATELY_S = 1800.0
AT_ONCE_S = 30.0  # in about this time one that was taken is made again
MOST = 8  # of a kind, however many are asked for


def most_at_once(times: Iterable[float], within_s: float) -> int:
    """The largest number of `times` (rising) that lie within `within_s` of each other."""
    recent: deque[float] = deque()
    most = 0
    for at in times:
        recent.append(at)
        while at - recent[0] > within_s:
            recent.popleft()
        most = max(most, len(recent))
    return most


class Demand:
    """`size`: how many of each kind; -1: as many as were asked for at once."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._asked: dict[Kind, deque[float]] = {}
        self._always: Kind | None = None
        self._met: Counter[tuple[Kind, bool]] = Counter()

    def ask(self, kind: Kind, *, found: bool) -> None:
        """One was asked for, and was there or not."""
        self._met[kind, found] += 1
        self._asked.setdefault(kind, deque(maxlen=1000)).append(self._clock())

    def always(self, kind: Kind) -> None:
        """The one kind that is kept without being asked for."""
        self._always = kind

    def forget(self, gone: Callable[[Kind], bool]) -> None:
        for kind in [kind for kind in self._asked if gone(kind)]:
            del self._asked[kind]

    @property
    def kinds(self) -> list[Kind]:
        self._age()
        return [*dict.fromkeys([*([self._always] if self._always else []), *self._asked])]

    def wanted(self, kind: Kind) -> int:
        """How many should wait."""
        self._age()
        if kind not in self._asked and kind != self._always:
            return 0
        if self._size >= 0:
            return self._size
        return max(1, min(MOST, most_at_once(self._asked.get(kind, ()), AT_ONCE_S)))

    def met(self, kind: Kind) -> tuple[int, int]:
        """How often one was there, and how often not."""
        return self._met[kind, True], self._met[kind, False]

    def _age(self) -> None:
        for kind, times in list(self._asked.items()):
            while times and self._clock() - times[0] > LATELY_S:
                times.popleft()
            if not times:
                del self._asked[kind]
