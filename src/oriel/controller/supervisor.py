"""What is wanted, and what is: the controller's database against the keepers, made to agree.

Every step that changes a desktop is stored before it is done, so that a controller that was killed at
any moment reads at its next start what it had begun, and finishes it or says why it cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from oriel.controller.bus import Bus, Subscription
from oriel.controller.draining import Draining
from oriel.controller.follower import Follower
from oriel.controller.live import Live
from oriel.controller.problems import neutral
from oriel.controller.room import Room
from oriel.controller.store import desktops
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.desktops import Desktop, Wanted
from oriel.controller.tickets import Tickets
from oriel.controller.vault import Vault
from oriel.controller.ways_out import egress_of
from oriel.fleet import Fleet
from oriel.host.settings import Settings
from oriel.model.errors import LaunchError, NotFoundError, OrielError, StateError, UnavailableError
from oriel.model.state import TRANSITIONS, State, check_transition

__all__ = ["Supervisor"]

RETRY_S = 2.0
JOURNAL_LAG_S = 2.0
_LOG = structlog.get_logger(__name__)
_S = State
_PAUSED = (_S.PAUSING, _S.PAUSED, _S.RESUMING, _S.RUNNING)


@dataclass(eq=False)
class _Charge:
    """One desktop under supervision. `turn`: one change of it at a time."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    following: asyncio.Task[None] | None = None
    starting: asyncio.Task[None] | None = None
    made: asyncio.Event = field(default_factory=asyncio.Event)  # its host has it


class Supervisor:
    """Brings desktops into the states they are wanted in. Runs inside `group` from `adopt` on."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        bus: Bus,
        database: Database,
        fleet: Fleet,
        vault: Vault,
        live: Live,
        tickets: Tickets,
        room: Room,
        settings: Settings,
        draining: Draining,
    ) -> None:
        self._group = group
        self._bus = bus
        self._database = database
        self._fleet = fleet
        self._vault = vault
        self._live = live
        self._tickets = tickets
        self._settings = settings
        self._draining = draining
        self._charges: dict[str, _Charge] = {}
        self._room = room
        self.adopted = asyncio.Event()

    # --- what the API asks for

    async def create(self, desktop: Desktop, before: Callable[[Transaction], None] | None = None) -> Desktop:
        """Store the wish, then make it come true in the background. StateError if the name is taken.

        `before`: what else belongs into the transaction that adds it, and may refuse it.
        """
        self._draining.check()

        def store(transaction: Transaction) -> Desktop:
            if before is not None:
                before(transaction)
            return desktops.add(transaction, desktop)

        made = await self._database.write(store)
        self._begin(made.id, self._bring_up(made.id))
        return made

    async def start(self, desktop_id: str) -> Desktop:
        """On its way when this returns. StateError unless it is stopped or failed."""
        self._draining.check()
        async with self._charge(desktop_id).turn:
            desktop = await self.get(desktop_id)
            if desktop.state not in (_S.STOPPED, _S.FAILED):
                raise StateError(f"the desktop is {desktop.state}", hint=_start_hint(desktop.state))
            await self.move(desktop_id, _S.STARTING, wanted=Wanted.RUNNING)
        self._begin(desktop_id, self._bring_up(desktop_id))
        return await self.get(desktop_id)

    async def stop(self, desktop_id: str) -> Desktop:
        """Stopped when this returns; it goes on when the caller does not wait. The disk stays."""
        async with self._charge(desktop_id).turn:
            desktop = await self.get(desktop_id)
            if desktop.state is _S.STOPPED:
                return desktop
            if desktop.state is not _S.STOPPING:
                check_transition(desktop.state, _S.STOPPING)
                await self.move(desktop_id, _S.STOPPING, wanted=Wanted.STOPPED)
            self._give_up_start(desktop_id)
        await self._wait(self.spawn(self._shut_down(desktop_id), f"stop {desktop_id}"))
        return await self.get(desktop_id)

    async def delete(self, desktop_id: str) -> None:
        """Nothing is left of it when this returns; it goes on when the caller does not wait."""
        desktop = await self.get(desktop_id)
        if desktop.state is not _S.DELETING:
            await self.move(desktop_id, _S.DELETING, wanted=Wanted.DELETED)
        self._live.end_desktop(desktop_id)
        self._tickets.revoke(lambda one: one.desktop == desktop_id)
        self._give_up_start(desktop_id)
        try:
            await self._wait(self.spawn(self._take_away(desktop_id), f"delete {desktop_id}"))
        except UnavailableError:
            self.spawn(self._take_away_later(desktop_id), f"delete {desktop_id} later")
            raise

    def under_way(self) -> int:
        """How many desktops are just being started or changed."""
        return sum(one.turn.locked() or self._is_starting(one) for one in self._charges.values())

    def turn(self, desktop_id: str) -> asyncio.Lock:
        """Held by whoever changes that desktop."""
        return self._charge(desktop_id).turn

    async def made(self, desktop_id: str) -> None:
        """Until its host has a new desktop, or could not make it."""
        await self._charge(desktop_id).made.wait()

    async def started(self, desktop_id: str) -> Desktop:
        """Once a start under way has ended. LaunchError with its reason if it failed."""
        starting = self._charge(desktop_id).starting
        if starting is not None:
            await asyncio.wait([starting])
        desktop = await self.get(desktop_id)
        if desktop.state is _S.FAILED:
            told = desktop.error or {}
            raise LaunchError(str(told.get("message", "it failed")), hint=str(told.get("hint", "")))
        return desktop

    async def correct(self, desktop_id: str) -> None:
        """Make its state what its keeper says, after something that it was asked for went wrong."""
        told = await self._fleet.keeper(desktop_id).inspect()
        actual = State(str(told["state"]))
        known = (await self.get(desktop_id)).state
        if actual is not known and actual in TRANSITIONS[known]:
            await self.move(desktop_id, actual, error=told.get("error"))

    async def apply_egress(self, desktop_id: str) -> None:
        """Tell the keeper what the database says now. UnavailableError if it does not take it yet."""
        desktop = await self.get(desktop_id)
        await self.configure(desktop)

    # --- at the controller's start

    async def adopt(self) -> None:
        """Take up every desktop of the database; returns once each has been looked at.

        Raises UnavailableError while hostd does not answer.
        """
        occupants = await self._fleet.occupants()
        present = {occupant.id for occupant in occupants}
        spare = {occupant.id for occupant in occupants if occupant.spare}
        known = await self._database.read(desktops.every)
        for desktop in known:
            if desktop.id in self._charges:
                continue
            await self._take_up(desktop, desktop.id in present)
        for stranger in sorted(present - spare - {desktop.id for desktop in known}):
            # It may belong to a database that was lost: never touched, only told.
            _LOG.warning("the host has a desktop that is not in the database", desktop=stranger)
        self.adopted.set()

    async def keep_adopting(self) -> None:
        """Adopt, as soon as hostd answers."""
        while not self.adopted.is_set():
            try:
                await self.adopt()
                return
            except OrielError as error:
                _LOG.warning("the host's service does not answer yet", reason=error.message)
            except Exception as error:
                neutral(error)
            # Not an event: a socket that is not there yet cannot tell when it will be.
            await asyncio.sleep(RETRY_S)

    async def _take_up(self, desktop: Desktop, present: bool) -> None:
        if desktop.wanted == Wanted.DELETED:
            self._charge(desktop.id)
            self.spawn(self._take_away_later(desktop.id), f"delete {desktop.id}")
        elif present:
            self._follow(desktop.id)
        elif desktop.state is _S.CREATING:
            self._begin(desktop.id, self._bring_up(desktop.id))
        else:
            self._charge(desktop.id)
            error = LaunchError(
                "its host no longer has this desktop",
                hint="its disk is lost: delete it, or restore the home directory from a backup",
                code="vanished",
            )
            await self._fail(desktop.id, error)

    async def _met(self, desktop_id: str, told: Mapping[str, Any]) -> None:
        """A keeper answers, for the first time or again: make what it is and what we know agree."""
        desktop = await self.get(desktop_id)
        if desktop.wanted == Wanted.DELETED:
            return
        await self.configure(desktop)
        actual = State(str(told["state"]))
        charge = self._charge(desktop_id)
        agreed = actual is desktop.state and actual is not _S.CREATING
        if agreed or charge.turn.locked() or self._is_starting(charge):
            return
        _LOG.info("settling", desktop=desktop_id, known=str(desktop.state), actual=str(actual))
        await self._settle(desktop, actual, told)

    async def _settle(self, desktop: Desktop, actual: State, told: Mapping[str, Any]) -> None:
        """What a controller that was killed had begun is begun again; what happened meanwhile is noted."""
        known = desktop.state
        if known in (_S.CREATING, _S.STARTING) and actual in (_S.CREATING, _S.STOPPED):
            self._begin(desktop.id, self._bring_up(desktop.id))
        elif known in _PAUSED and actual in _PAUSED and actual in TRANSITIONS[known]:
            await self.move(desktop.id, actual, message=f"found {actual}")
        elif known is _S.STOPPING and actual in (_S.RUNNING, _S.STARTING, _S.FAILED):
            self.spawn(self._shut_down(desktop.id), f"stop {desktop.id}")
        elif actual is _S.RUNNING:
            for state in (_S.STARTING, _S.RUNNING):
                if state is not (await self.get(desktop.id)).state:
                    await self.move(desktop.id, state, message="found running")
        elif actual is _S.FAILED:
            await self.move(desktop.id, _S.FAILED, error=told.get("error"))
        elif actual in (_S.STOPPED, _S.CREATING) and known is not _S.FAILED:
            await self.move(desktop.id, _S.STOPPED, message="found stopped")

    # --- the work, each to be begun again from any point

    async def _bring_up(self, desktop_id: str) -> None:
        desktop = await self.get(desktop_id)
        with self._room.kept(desktop_id, desktop.memory_mib):
            # One that waited ready needs no turn: it goes on, and that is all.
            ready = desktop.state is _S.CREATING and desktop.journal_seq > 0
            async with contextlib.nullcontext() if ready else self._room.turns:
                with self._room.measured():
                    await self._start(desktop_id)

    async def _start(self, desktop_id: str) -> None:
        desktop = await self.get(desktop_id)
        if desktop.state is _S.CREATING:
            await self._make(desktop)
        await self.configure(desktop)
        if desktop.state is _S.CREATING:
            await self.move(desktop_id, _S.STARTING)
        self._follow(desktop_id)
        with self._bus.subscribe(desktop=desktop_id) as news:
            # The journal tells it in order, and more of it; the answer only comes first.
            try:
                keeper = self._fleet.keeper(desktop_id)
                timings = await keeper.start(deadline_s=self._settings.start_deadline_s)
            except OrielError:
                await self._told_by_journal(desktop_id, news)
                raise
            await self._told_by_journal(desktop_id, news)
        await self.move(desktop_id, _S.RUNNING, timings=timings)

    async def _make(self, desktop: Desktop) -> None:
        """Have its host make it, or give the one that waited there its name."""
        try:
            if not desktop.journal_seq:
                try:
                    return await self._fleet.create(desktop.spec(), origin=desktop.begins_as)
                except StateError:
                    _LOG.info("its host has made it before", desktop=desktop.id)
            await self._fleet.keeper(desktop.id).assign(desktop.spec())
        finally:
            self._charge(desktop.id).made.set()

    async def _told_by_journal(self, desktop_id: str, news: Subscription) -> None:
        """Until its journal has said how the start ended, or seems to be unable to."""
        try:
            while (await self.get(desktop_id)).state is _S.STARTING:
                if await news.next(JOURNAL_LAG_S) is None:
                    return
        except (TimeoutError, NotFoundError):
            _LOG.info("a start ended and its journal did not say so", desktop=desktop_id)

    async def _shut_down(self, desktop_id: str) -> None:
        charge = self._charge(desktop_id)
        async with charge.turn:
            if (await self.get(desktop_id)).state is not _S.STOPPING:
                return
            keeper = self._fleet.keeper(desktop_id)
            try:
                await keeper.stop(deadline_s=self._settings.stop_deadline_s)
            except StateError:
                # It has stopped by itself, or never ran: that is what was wanted.
                actual = State(str((await keeper.inspect())["state"]))
                if actual not in (_S.STOPPED, _S.CREATING):
                    raise
            await self.move(desktop_id, _S.STOPPED)

    async def _take_away(self, desktop_id: str) -> None:
        charge = self._charge(desktop_id)
        async with charge.turn:
            try:
                if (await self.get(desktop_id)).state is not _S.DELETING:
                    await self.move(desktop_id, _S.DELETING, wanted=Wanted.DELETED)
            except NotFoundError:
                return
            if charge.following is not None:
                charge.following.cancel()
            try:
                await self._fleet.remove(desktop_id)
            except UnavailableError:
                raise
            except OrielError as error:
                await self._fail(desktop_id, error, during=(_S.DELETING,))
                raise
            await self._database.write(lambda t: desktops.forget(t, desktop_id))
            self._charges.pop(desktop_id, None)

    async def _take_away_later(self, desktop_id: str) -> None:
        """As soon as the host's service answers again."""
        while True:
            try:
                return await self._take_away(desktop_id)
            except UnavailableError as error:
                _LOG.warning("a desktop waits to be removed", desktop=desktop_id, reason=error.message)
            await asyncio.sleep(RETRY_S)

    def _give_up_start(self, desktop_id: str) -> None:
        charge = self._charge(desktop_id)
        if charge.starting is not None:
            charge.starting.cancel()

    # --- small steps

    async def configure(self, desktop: Desktop) -> None:
        def read(connection: Connection) -> Any:
            fresh = desktops.find(connection, desktop.id) or desktop
            return egress_of(connection, self._vault, self._settings, fresh)

        spec = await self._database.read(read)
        await self._fleet.keeper(desktop.id).configure_egress(spec)

    async def get(self, desktop_id: str) -> Desktop:
        found = await self._database.read(lambda c: desktops.find(c, desktop_id))
        if found is None:
            raise NotFoundError("this desktop is gone")
        return found

    async def move(self, desktop_id: str, state: State, **values: Any) -> Desktop:
        return await self._database.write(lambda t: desktops.move(t, desktop_id, state, **values))

    async def _fail(
        self, desktop_id: str, error: OrielError, *, during: Collection[State] = frozenset(State)
    ) -> None:
        """Note why, if it is still in one of the states `during` which it went wrong."""
        told = {"code": error.code, "message": error.message, "hint": error.hint}

        def note(transaction: Transaction) -> bool:
            desktop = desktops.find(transaction.connection, desktop_id)
            if desktop is None or desktop.state is _S.FAILED or desktop.state not in during:
                return False
            desktops.move(transaction, desktop_id, _S.FAILED, error=told)
            return True

        if not await self._database.write(note):
            _LOG.info("a failure was known already", desktop=desktop_id, reason=error.message)

    def _charge(self, desktop_id: str) -> _Charge:
        return self._charges.setdefault(desktop_id, _Charge())

    def _follow(self, desktop_id: str) -> None:
        charge = self._charge(desktop_id)
        if charge.following is not None and not charge.following.done():
            return
        follower = Follower(
            self._database,
            self._fleet.keeper(desktop_id),
            desktop_id,
            lambda told: self._met(desktop_id, told),
        )
        charge.following = self._group.create_task(_guarded(follower.follow()), name=f"follow {desktop_id}")

    def _is_starting(self, charge: _Charge) -> bool:
        return charge.starting is not None and not charge.starting.done()

    def _begin(self, desktop_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a start; what goes wrong becomes the desktop's reason."""
        charge = self._charge(desktop_id)
        charge.starting = self._group.create_task(self._judged(desktop_id, work), name=f"start {desktop_id}")

    async def _judged(self, desktop_id: str, work: Coroutine[Any, Any, None]) -> None:
        outcome = await _outcome(work)
        while outcome is not None:
            told = await _outcome(self._fail(desktop_id, outcome, during=(_S.CREATING, _S.STARTING)))
            if told is None:
                return
            # Not to be lost: else the desktop would seem to start for ever.
            _LOG.warning("a failure could not be written", desktop=desktop_id, reason=told.message)
            await asyncio.sleep(RETRY_S)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[OrielError | None]:
        return self._group.create_task(_outcome(work), name=name)

    async def _wait(self, task: asyncio.Task[OrielError | None]) -> None:
        """The work goes on if the caller goes away."""
        if (error := await asyncio.shield(task)) is not None:
            raise error


async def _outcome(work: Coroutine[Any, Any, None]) -> OrielError | None:
    """An error is returned: raised in the group it would end everything."""
    try:
        await work
    except OrielError as error:
        return error
    except TimeoutError:
        return UnavailableError("the host did not answer in time")
    except Exception as error:
        return neutral(error)
    return None


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        neutral(error)


def _start_hint(state: State) -> str:
    if state in (_S.CREATING, _S.STARTING, _S.RUNNING):
        return "it is up, or on its way: nothing to do"
    return "wait until it has stopped, then start it"
