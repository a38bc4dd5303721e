"""A guest's clock, kept right: how far it is off is told by questions, and mended by a shift.

A guest is told the time when it begins, but not how long the news took to reach it; while it stands still it
misses what passes; and what counts its seconds is not what counts the host's. An answer was given somewhere
between its question and its arrival, so of several the one that came soonest tells best: to half of the time
that it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from oriel.keeper.guest import Guest
from oriel.model import wire
from oriel.model.errors import OrielError, UnavailableError

__all__ = ["Clock", "Reading"]

QUESTIONS = 8
SOON_NS = 2_000_000  # an answer that comes as soon as this tells enough
BEARABLE_NS = 5_000_000
ROUNDS = 3  # a shift is looked at again, and may have to be mended
DEADLINE_S = 10.0
EVERY_S = 300.0  # a clock that is off by one in ten thousand loses 30 ms in it
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Reading:
    """`off_ns`: how far a clock is ahead of ours, give or take `doubt_ns`."""

    doubt_ns: int
    off_ns: int

    @staticmethod
    def of(asked_ns: int, told_ns: int, answered_ns: int) -> Reading:
        """From our time before the question and after the answer, and the time that was told."""
        return Reading((answered_ns - asked_ns) // 2, told_ns - (asked_ns + answered_ns) // 2)


class Clock:
    """Of one guest, kept from the first `keep` until `close`."""

    def __init__(self, guest: Guest, group: asyncio.TaskGroup) -> None:
        self._guest = guest
        self._group = group
        self._wanted = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """The guest runs, perhaps after it stood still: mend its clock now, and again as time passes."""
        self._wanted.set()
        if self._keeping is None:
            self._keeping = self._group.create_task(self._keep(), name="clock")

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])

    async def mend(self) -> Reading:
        """How far it is off in the end. UnavailableError if the guest does not answer."""
        stream = await self._guest.open_clock(deadline_s=DEADLINE_S)
        try:
            async with asyncio.timeout(DEADLINE_S):
                reading = await _read(stream)
                for _ in range(ROUNDS):
                    if abs(reading.off_ns) <= max(BEARABLE_NS, reading.doubt_ns):
                        break
                    await _ask(stream, shift_ns=-reading.off_ns)
                    reading = await _read(stream)
                return reading
        except OSError as error:  # a deadline that has passed is one too
            raise UnavailableError(f"the guest does not tell its time: {error!r}") from error
        finally:
            stream.writer.transport.abort()

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                _LOG.debug("the clock is off by %s", await self.mend())
            except OrielError as error:
                _LOG.info("the clock was not looked at: %s", error)


async def _read(stream: wire.Stream) -> Reading:
    best = await _ask(stream)
    for _ in range(QUESTIONS - 1):
        if best.doubt_ns * 2 <= SOON_NS:
            break
        best = min(best, await _ask(stream))
    return best


async def _ask(stream: wire.Stream, *, shift_ns: int = 0) -> Reading:
    asked = time.time_ns()
    await wire.write_line(stream.writer, {"shift_ns": shift_ns})
    answer = await wire.read_line(stream.reader)
    answered = time.time_ns()
    if answer is None or not isinstance(told := answer.get("time_ns"), int):
        raise UnavailableError("the guest does not tell its time")
    return Reading.of(asked, told, answered)
