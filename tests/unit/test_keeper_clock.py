"""A guest's clock is asked, and shifted by what it is off."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from oriel.keeper.clock import Clock, Reading
from oriel.model import wire
from oriel.model.errors import UnavailableError

SECOND = 10**9


class Guest:
    """Whose clock is `off_ns` ahead of ours."""

    def __init__(self, off_ns: int, answers: int = 1000) -> None:
        self.off_ns = off_ns
        self.shifts: list[int] = []
        self._answers = answers
        self._tasks: list[asyncio.Task[None]] = []

    async def open_clock(self, *, deadline_s: float) -> wire.Stream:
        assert deadline_s > 0
        ours, theirs = socket.socketpair()
        self._tasks.append(asyncio.create_task(self._serve(theirs)))
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return wire.Stream({}, reader, writer)

    async def _serve(self, sock: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        while self._answers and (line := await wire.read_line(reader)) is not None:
            self._answers -= 1
            if line["shift_ns"]:
                self.shifts.append(line["shift_ns"])
                self.off_ns += line["shift_ns"]
            await wire.write_line(writer, {"time_ns": time.time_ns() + self.off_ns})
        writer.transport.abort()

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)


def run(scenario: Callable[[asyncio.TaskGroup], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            await scenario(group)

    asyncio.run(main())


def test_half_of_the_time_it_took_is_the_doubt() -> None:
    assert Reading.of(100, 160, 140) == Reading(doubt_ns=20, off_ns=40)


@pytest.mark.parametrize("off_ns", [-3600 * SECOND, -SECOND // 3, SECOND, 40 * 24 * 3600 * SECOND])
def test_a_clock_that_is_off_is_shifted_until_it_is_right(off_ns: int) -> None:
    async def scenario(group: asyncio.TaskGroup) -> None:
        guest = Guest(off_ns)
        reading = await Clock(guest, group).mend()  # type: ignore[arg-type]
        await guest.end()
        assert guest.shifts
        assert abs(guest.off_ns - reading.off_ns) <= reading.doubt_ns
        assert abs(guest.off_ns) < SECOND // 4

    run(scenario)


def test_a_clock_that_is_right_is_left_alone() -> None:
    async def scenario(group: asyncio.TaskGroup) -> None:
        guest = Guest(0)
        await Clock(guest, group).mend()  # type: ignore[arg-type]
        await guest.end()
        assert guest.shifts == []

    run(scenario)


def test_a_guest_that_falls_silent_is_told() -> None:
    async def scenario(group: asyncio.TaskGroup) -> None:
        guest = Guest(SECOND, answers=1)
        with pytest.raises(UnavailableError):
            await Clock(guest, group).mend()  # type: ignore[arg-type]
        await guest.end()

    run(scenario)


def test_it_is_looked_at_again_whenever_the_guest_goes_on_and_never_after_the_end() -> None:
    async def scenario(group: asyncio.TaskGroup) -> None:
        guest = Guest(SECOND)
        clock = Clock(guest, group)  # type: ignore[arg-type]
        for times in (1, 2):
            clock.keep()
            while len(guest.shifts) < times:
                await asyncio.sleep(0)
            guest.off_ns += times * SECOND  # it stood still, or was told nonsense
        clock.keep()
        while len(guest.shifts) < 3:
            await asyncio.sleep(0)
        await clock.close()
        await guest.end()

    run(scenario)
