"""Desktops that failed, or stopped by themselves, started again if that is their policy: ever more slowly."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from sqlalchemy import Connection

from oriel.controller.bus import Bus
from oriel.controller.metrics import Metrics
from oriel.controller.rights import seconds_since
from oriel.controller.store import desktops
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.desktops import Desktop, Restart, Wanted
from oriel.controller.store.events import last_of, record
from oriel.controller.supervisor import Supervisor
from oriel.model.errors import NotFoundError, OrielError
from oriel.model.state import State

__all__ = ["Restarts", "pause_s"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
STEADY_S = 600.0  # a run that lasted this long begins the pauses anew
WAITING = "restart.waiting"
_KINDS = frozenset({"state.failed", "state.stopped"})
_LOG = structlog.get_logger(__name__)


def pause_s(attempt: int) -> float:
    """Before the given attempt, from 0: 1, 2, 4 … 300 seconds."""
    return float(min(FIRST_PAUSE_S * 2 ** min(attempt, 16), LONGEST_PAUSE_S))


class Restarts:
    """How often a desktop was tried is in its events, for the next controller too."""

    def __init__(self, *, bus: Bus, database: Database, supervisor: Supervisor, metrics: Metrics) -> None:
        self._bus = bus
        self._database = database
        self._supervisor = supervisor
        self._metrics = metrics
        self._waiting: dict[str, asyncio.Task[OrielError | None]] = {}

    async def watch(self) -> None:
        """For ever: what is due already, then each end as it happens."""
        await self._supervisor.adopted.wait()
        while not self._bus.closed:
            with self._bus.subscribe() as news:
                for desktop in await self._due():
                    self._consider(desktop.id)
                async for event in news:
                    if event.kind in _KINDS:
                        self._consider(event.desktop)

    def _consider(self, desktop_id: str) -> None:
        if desktop_id not in self._waiting:
            task = self._supervisor.spawn(self._bring_back(desktop_id), f"restart {desktop_id}")
            self._waiting[desktop_id] = task
            task.add_done_callback(lambda _: self._waiting.pop(desktop_id, None))

    async def _due(self) -> list[Desktop]:
        try:
            return [one for one in await self._database.read(desktops.every) if _is_due(one)]
        except OrielError as error:
            _LOG.warning("what is to be started again is not known", reason=error.message)
            return []

    async def _bring_back(self, desktop_id: str) -> None:
        """Wait, and start it; as often as it takes, unless it is not wanted any more."""
        while (desktop := await self._still_due(desktop_id)) is not None:
            try:
                attempt = await self._attempts(desktop)
                await self._database.write(partial(_tell, desktop_id=desktop_id, attempt=attempt + 1))
                await asyncio.sleep(pause_s(attempt))
                if await self._still_due(desktop_id) is None:
                    return
                await self._supervisor.start(desktop_id)
                self._metrics.restarts.inc()
                await self._supervisor.started(desktop_id)
                return
            except NotFoundError:
                return
            except OrielError as error:
                _LOG.warning("a desktop is not back", desktop=desktop_id, reason=error.message)

    async def _attempts(self, desktop: Desktop) -> int:
        """How often it was tried since it last ran for long."""
        if desktop.ready_at and seconds_since(desktop.ready_at) > STEADY_S:
            return 0
        last = await self._database.read(lambda c: last_of(c, desktop.id, WAITING))
        return int(last.data["attempt"]) if last is not None else 0

    async def _still_due(self, desktop_id: str) -> Desktop | None:
        def find(connection: Connection) -> Desktop | None:
            found = desktops.find(connection, desktop_id)
            return found if found is not None and _is_due(found) else None

        try:
            return await self._database.read(find)
        except OrielError as error:
            _LOG.warning("a desktop is not looked at", desktop=desktop_id, reason=error.message)
            return None


def _is_due(desktop: Desktop) -> bool:
    if desktop.wanted != Wanted.RUNNING:
        return False
    if desktop.state is State.FAILED:
        lost = (desktop.error or {}).get("code") == "vanished"  # no start brings its disk back
        return desktop.restart != Restart.NO and not lost
    return desktop.state is State.STOPPED and desktop.restart == Restart.ALWAYS


def _tell(transaction: Transaction, desktop_id: str, attempt: int) -> None:
    desktop, wait_s = desktops.find(transaction.connection, desktop_id), pause_s(attempt - 1)
    if desktop is not None:
        message = f"starting again in {wait_s:g} s (attempt {attempt})"
        record(transaction, desktop, WAITING, message, {"attempt": attempt, "in_s": wait_s})
