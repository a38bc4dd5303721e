"""Whether the host has room for one more running desktop: by what is measured, not by what was promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oriel.controller.draining import Draining
from oriel.fleet import Capacity, Fleet
from oriel.host.settings import Settings
from oriel.model.errors import BusyError, NoSpaceError

__all__ = ["Room", "check_room"]

START_S = 2.0  # for a guess of how long a turn takes, when none was measured yet
CALM_BUSY = 0.85  # of the processors: above, nothing is made ahead
LOADED_AGAIN_S, FULL_AGAIN_S = 15.0, 30.0


def check_room(capacity: Capacity, settings: Settings, memory_mib: int, *, promised_mib: int = 0) -> None:
    """BusyError or NoSpaceError saying what is short. `promised_mib`: to those that are starting now."""
    if capacity.disk_free_mib < settings.disk_reserve_mib:
        raise NoSpaceError(
            f"the host has only {capacity.disk_free_mib} MiB of disk left",
            hint=f"free space, or lower disk_reserve_mib (now {settings.disk_reserve_mib})",
        )
    needed = share_mib(settings, memory_mib)
    free = capacity.memory_free_mib - settings.memory_reserve_mib - promised_mib
    if needed > free:
        raise BusyError(
            f"the host has {max(0, free)} MiB of memory to give, and this desktop needs {needed} to start",
            retry_after_s=FULL_AGAIN_S, code="host_full",
            hint="pause or stop a desktop; an operator may lower memory_share_percent",
        )  # fmt: skip
    load = capacity.load / capacity.vcpus
    if settings.load_limit and load > settings.load_limit:
        raise BusyError(
            f"the host is busy: {load:.0f} tasks wait for each processor",
            retry_after_s=LOADED_AGAIN_S, code="host_busy",
            hint=f"try again later; an operator may raise load_limit (now {settings.load_limit})",
        )  # fmt: skip


def share_mib(settings: Settings, memory_mib: int) -> int:
    """What a desktop of that size must find free to start."""
    return memory_mib * settings.memory_share_percent // 100


class Room:
    """The host's turns: few desktops start at a time, some wait, the rest is told when to come again."""

    def __init__(self, fleet: Fleet, settings: Settings, draining: Draining) -> None:
        self._draining = draining
        self._fleet = fleet
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.concurrent_starts)
        self._under_way: dict[str, int] = {}  # memory of each that starts, or waits for its turn
        self._took_s = START_S
        self.background = asyncio.Lock()  # what is made ahead is made one at a time
        self.on_need: Callable[[], None] = lambda: None  # told when somebody finds no room

    async def check(self, memory_mib: int) -> Capacity:
        """The host as it is now. BusyError or NoSpaceError if one more does not fit."""
        most = self._settings.concurrent_starts + self._settings.waiting_starts
        if len(self._under_way) >= most:
            turns = len(self._under_way) / self._settings.concurrent_starts
            raise BusyError(
                f"{len(self._under_way)} desktops are starting or wait for their turn",
                retry_after_s=turns * self._took_s, code="host_busy",
                hint="try again later; an operator may raise waiting_starts",
            )  # fmt: skip
        capacity = await self._fleet.capacity()
        promised = sum(share_mib(self._settings, other) for other in self._under_way.values())
        try:
            check_room(capacity, self._settings, memory_mib, promised_mib=promised)
        except BusyError:
            self.on_need()
            raise
        return capacity

    @contextmanager
    def kept(self, desktop_id: str, memory_mib: int) -> Iterator[None]:
        """Its place is counted while the block runs."""
        self._under_way[desktop_id] = memory_mib
        try:
            yield
        finally:
            self._under_way.pop(desktop_id, None)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """A turn: how long it takes tells those who come too late when to come again."""
        clock = asyncio.get_running_loop().time
        began = clock()
        yield
        self._took_s += (clock() - began - self._took_s) / 4

    @property
    def turns(self) -> asyncio.Semaphore:
        return self._turns

    async def calm(self) -> bool:
        """Whether something may be made ahead without being felt."""
        if self._under_way or self._draining.on:
            return False
        capacity = await self._fleet.capacity()
        return capacity.busy < CALM_BUSY and not self._under_way
