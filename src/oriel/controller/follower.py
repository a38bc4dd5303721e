"""Following one keeper's journal: what it says has happened becomes the desktop's state and events here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import structlog

from oriel.controller.store import desktops
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.events import record
from oriel.controller.ways_out import ways_of
from oriel.fleet import Keeper
from oriel.model.errors import NotFoundError, OrielError
from oriel.model.events import Event
from oriel.model.spec import Isolation
from oriel.model.state import TRANSITIONS, State

__all__ = ["Follower"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
# Facts of the host that are none of a user's business.
_PRIVATE = frozenset({"argv", "record", "pid", "started", "slot", "boot_id"})
_LOG = structlog.get_logger(__name__)

# Called with what the keeper says of itself, each time it is met: at first, and after it was away.
Met = Callable[[Mapping[str, Any]], Awaitable[None]]


class Follower:
    """Follows until cancelled, or until the desktop is gone from the database."""

    def __init__(self, database: Database, keeper: Keeper, desktop_id: str, met: Met) -> None:
        self._database = database
        self._keeper = keeper
        self._id = desktop_id
        self._met = met

    async def follow(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                if await self._follow_once():
                    pause = FIRST_PAUSE_S
            except NotFoundError:
                return
            except (OrielError, OSError, KeyError, TypeError, ValueError) as error:
                _LOG.debug("a keeper is away", desktop=self._id, reason=str(error))
            # It is hostd's to bring a keeper back; there is no event for "its socket is there again".
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _follow_once(self) -> bool:
        """One connection. True if anything was heard on it."""
        desktop = await self._database.read(lambda c: desktops.find(c, self._id))
        if desktop is None:
            raise NotFoundError("this desktop is gone")
        told = await self._keeper.inspect()
        # A journal that is shorter than what we have read of it is another one.
        after = desktop.journal_seq if desktop.journal_seq <= _seq(told) else 0
        target = _seq(told)
        settled = after == target
        if settled:
            await self._met(told)
        async for event in self._keeper.events(after):
            await self._database.write(partial(_take, desktop_id=self._id, event=event))
            if event.kind == "keeper.adopted":
                settled, target = False, event.seq
            if not settled and event.seq >= target:
                # What the keeper is can be compared with what we know only when all before it was read.
                told = await self._keeper.inspect()
                target = _seq(told)
                if event.seq >= target:
                    await self._met(told)
                    settled = True
        return True


def _seq(told: Mapping[str, Any]) -> int:
    return int(told.get("seq", 0))


def _take(transaction: Transaction, desktop_id: str, event: Event) -> None:
    """One event of a journal: the state it tells, or the event itself, and how far we have read."""
    desktop = desktops.find(transaction.connection, desktop_id)
    if desktop is None:
        raise NotFoundError("this desktop is gone")
    if event.kind.startswith("state."):
        _take_state(transaction, desktop, event)
        values = {}
    else:
        values = _facts(transaction, desktop, event)
        data = {key: value for key, value in event.data.items() if key not in _PRIVATE}
        record(transaction, desktop, event.kind, event.message, data, at=event.at)
    desktops.note(transaction, desktop_id, **values, journal_seq=event.seq)


def _facts(transaction: Transaction, desktop: desktops.Desktop, event: Event) -> dict[str, Any]:
    """What an event tells of the desktop besides its state."""
    if event.kind.startswith("step."):
        seconds = float(event.data.get("seconds", 0))
        return {"timings": {**desktop.timings, event.kind.removeprefix("step."): seconds}}
    if event.kind == "machine.started" and event.data.get("isolation") in list(Isolation):
        return {"isolation": str(event.data["isolation"])}
    if event.kind == "egress.exit" and event.data.get("via") in ways_of(transaction.connection, desktop):
        # A change on purpose forgets the address first: any other is worth a warning.
        address, was = str(event.data.get("address", "")), desktop.exit_was or desktop.exit_ip
        return {"exit_ip": address, "exit_was": "" if address == was else was}
    return {}


def _take_state(transaction: Transaction, desktop: desktops.Desktop, event: Event) -> None:
    """A state is passed by if ours has gone on meanwhile; where both end up is settled by `met`."""
    try:
        state = State(event.kind.removeprefix("state."))
    except ValueError:
        return
    if state is State.FAILED:
        _keep_reason(transaction, desktop, event)
    if state is desktop.state or state not in TRANSITIONS[desktop.state]:
        return
    if state is State.DELETING and desktop.wanted != desktops.Wanted.DELETED:
        return
    values: dict[str, Any] = {}
    data = {key: value for key, value in event.data.items() if key not in _PRIVATE}
    if state is State.RUNNING and "total" in event.data:
        values["timings"] = {**desktop.timings, "total": float(event.data["total"])}
        values["ready_at"] = event.at
    desktops.advance(transaction, desktop, state, message=event.message, data=data, **values)


def _keep_reason(transaction: Transaction, desktop: desktops.Desktop, event: Event) -> None:
    """The keeper's reason has the console's last lines: it is better than the one its caller was told."""
    reason = event.data.get("error")
    if desktop.state in (State.CREATING, State.DELETING) or not isinstance(reason, Mapping):
        return
    desktops.note(transaction, desktop.id, error=dict(reason))
