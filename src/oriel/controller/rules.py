"""What a desktop is told to do by itself: to pause or stop when nobody uses it, to stop at an age."""

from __future__ import annotations

import asyncio

import structlog

from oriel.controller.live import Live
from oriel.controller.moments import Moments
from oriel.controller.rights import seconds_since
from oriel.controller.store import desktops
from oriel.controller.store.database import Database
from oriel.controller.store.desktops import IdleAction, Ruled
from oriel.controller.supervisor import Supervisor
from oriel.fleet import Fleet
from oriel.model.errors import OrielError
from oriel.model.state import State

__all__ = ["Traffic", "keep_rules"]

EVERY_S = 2.0  # that nothing happens is no event
LOOK_S = 10.0  # traffic is counted over at least so long
AGAIN_S = 300.0  # after one that could not be brought about
_LOG = structlog.get_logger(__name__)


class Traffic:
    """Whether desktops are quiet on the network: at most `limit` bytes a second. 0: that does not count."""

    def __init__(self, fleet: Fleet, limit: int) -> None:
        self._fleet = fleet
        self._limit = limit
        self._seen: dict[str, tuple[float, int]] = {}

    async def quiet(self, desktop_id: str) -> bool:
        """Over the last seconds. False while that is not known yet."""
        if not self._limit:
            return True
        clock = asyncio.get_running_loop().time()
        at, before = self._seen.get(desktop_id, (clock, -1))
        if before >= 0 and clock - at < LOOK_S:
            return False
        told = (await self._fleet.keeper(desktop_id).inspect()).get("egress", {})
        count = int(told.get("bytes_in", 0)) + int(told.get("bytes_out", 0))
        self._seen[desktop_id] = clock, count
        return before >= 0 and 0 <= count - before <= self._limit * (clock - at)


async def keep_rules(
    database: Database, live: Live, supervisor: Supervisor, moments: Moments, traffic: Traffic
) -> None:
    """For ever."""
    not_before: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            ruled = await database.read(desktops.ruled)
        except OrielError as error:
            _LOG.warning("rules are not looked at", reason=error.message)
            continue
        for one in ruled:
            action = _due(one, live)
            if not action or clock() < not_before.get(one.id, 0):
                continue
            try:
                if one.idle_timeout_s and not _too_old(one) and not await traffic.quiet(one.id):
                    continue
                await (moments.pause(one.id) if action == IdleAction.PAUSE else supervisor.stop(one.id))
                _LOG.info("a rule was kept", desktop=one.id, action=action)
            except OrielError as error:
                not_before[one.id] = clock() + AGAIN_S
                _LOG.warning("a rule could not be kept", desktop=one.id, action=action, reason=error.message)


def _too_old(one: Ruled) -> bool:
    return bool(one.max_age_s and one.ready_at and seconds_since(one.ready_at) >= one.max_age_s)


def _due(one: Ruled, live: Live) -> str:
    """pause, stop, or "" for neither. An age counts from when it was ready, paused or not."""
    if _too_old(one):
        return IdleAction.STOP
    unused = one.state is State.RUNNING and 0 < one.idle_timeout_s <= live.unused_s(one.id)
    return one.idle_action if unused else ""
