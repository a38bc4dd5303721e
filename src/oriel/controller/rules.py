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
from oriel.model.errors import OrielError
from oriel.model.state import State

__all__ = ["keep_rules"]

EVERY_S = 2.0  # that nothing happens is no event
AGAIN_S = 300.0  # after one that could not be brought about
_LOG = structlog.get_logger(__name__)


async def keep_rules(database: Database, live: Live, supervisor: Supervisor, moments: Moments) -> None:
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
                await (moments.pause(one.id) if action == IdleAction.PAUSE else supervisor.stop(one.id))
                _LOG.info("a rule was kept", desktop=one.id, action=action)
            except OrielError as error:
                not_before[one.id] = clock() + AGAIN_S
                _LOG.warning("a rule could not be kept", desktop=one.id, action=action, reason=error.message)


def _due(one: Ruled, live: Live) -> str:
    """pause, stop, or "" for neither. An age counts from when it was ready, paused or not."""
    if one.max_age_s and one.ready_at and seconds_since(one.ready_at) >= one.max_age_s:
        return IdleAction.STOP
    unused = one.state is State.RUNNING and 0 < one.idle_timeout_s <= live.unused_s(one.id)
    return one.idle_action if unused else ""
