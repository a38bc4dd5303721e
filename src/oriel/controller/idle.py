"""Desktops that nobody looks at, drives or asks for anything are paused after their own time."""

from __future__ import annotations

import asyncio

import structlog

from oriel.controller.live import Live
from oriel.controller.moments import Moments
from oriel.controller.store import desktops
from oriel.controller.store.database import Database
from oriel.model.errors import OrielError

__all__ = ["pause_unused"]

EVERY_S = 2.0  # that nothing happens is no event
AGAIN_S = 300.0  # after a pause that did not succeed
_LOG = structlog.get_logger(__name__)


async def pause_unused(database: Database, live: Live, moments: Moments) -> None:
    """For ever."""
    not_before: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            waiting = await database.read(desktops.impatient)
        except OrielError as error:
            _LOG.warning("idle desktops are not looked for", reason=error.message)
            continue
        for desktop_id, timeout_s in waiting:
            if live.unused_s(desktop_id) < timeout_s or clock() < not_before.get(desktop_id, 0):
                continue
            try:
                await moments.pause(desktop_id)
            except OrielError as error:
                not_before[desktop_id] = clock() + AGAIN_S
                _LOG.warning("an idle desktop runs on", desktop=desktop_id, reason=error.message)
