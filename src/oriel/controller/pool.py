"""The warm pool: desktops made ahead, with everything but a name, so that the next one is there at once.

A waiting desktop belongs to nobody and stands still: it costs memory, and no processor. It is made while the
host is calm, one at a time, and given up when its kind is not asked for any more, when its image or template
was replaced, or when the memory it holds is needed. Only the host knows them: a controller that starts adopts
those it can use and removes the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog

from oriel.controller.admission import Admission, new_id
from oriel.controller.attempts import Attempts
from oriel.controller.demand import Demand
from oriel.controller.kinds import SPARE, Kind
from oriel.controller.problems import neutral
from oriel.controller.room import Room, share_mib
from oriel.controller.store import desktops
from oriel.controller.store.database import Database
from oriel.controller.store.desktops import Desktop
from oriel.controller.templates import Templates
from oriel.fleet import Capacity, Fleet
from oriel.host.settings import Settings
from oriel.model.errors import OrielError
from oriel.model.spec import DesktopSpec

__all__ = ["Pool"]

EVERY_S = 3.0  # that the host has become calm, or short of memory, is no event
AGAIN_S, LONGEST_AGAIN_S = 30.0, 1800.0  # after one that could not be made
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Spare:
    """One that waits. `template`: which one its kind began at when it was made."""

    id: str
    kind: Kind
    template: str
    memory_mib: int


class Pool:
    """Those that wait on this host, by kind."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        database: Database,
        admission: Admission,
        templates: Templates,
        room: Room,
        settings: Settings,
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._admission = admission
        self._templates = templates
        self._room = room
        self._settings = settings
        self._spares: list[Spare] = []
        self._taken: dict[str, Kind] = {}  # on their way into the database
        self._demand = Demand(settings.pool_size)
        self._default: Kind | None = None
        self._newest: set[str] = set()
        self._attempts = Attempts[Kind](AGAIN_S, LONGEST_AGAIN_S)
        self._obstacles: dict[Kind, str] = {}  # why a round made none, though one is wanted
        self._adopted = False
        self._news = asyncio.Event()
        room.on_need = self._give_way
        self._needed = False

    @asynccontextmanager
    async def spare(self, wanted: Desktop) -> AsyncIterator[Desktop]:
        """`wanted` as one that waits for it, if one does; else as it is. If the block fails it waits on."""
        kind = Kind.of(wanted)
        self._templates.ask(kind)
        if wanted.rates:  # what waits has no limits, and is given them by a start only
            yield wanted
            return
        taken = await self._take(kind)
        self._demand.ask(kind, found=taken is not None)
        self._news.set()
        if taken is None:
            yield wanted
            return
        spare, seq = taken
        try:
            yield replace(wanted, id=spare.id, journal_seq=seq)
        except BaseException:
            self._spares.append(spare)
            raise
        finally:
            del self._taken[spare.id]

    async def give_up(self, image: str) -> None:
        """Those of an image that is to go."""
        for spare in [one for one in self._spares if one.kind.image == image]:
            await self._drop(spare, "its image is deleted")

    def describe(self) -> list[dict[str, Any]]:
        """Each kind that is kept or asked for: how many wait, how many should, and why one does not."""
        found = []
        for kind in dict.fromkeys([*self._demand.kinds, *(one.kind for one in self._spares)]):
            mine = [one for one in self._spares if one.kind == kind]
            taken, missed = self._demand.met(kind)
            found.append({
                **kind.to_json(), "wanted": self._demand.wanted(kind), "ready": len(mine),
                "held_mib": sum(one.memory_mib for one in mine), "taken": taken, "missed": missed,
                "problem": self._attempts.problem(kind) or self._obstacles.get(kind, ""),
            })  # fmt: skip
        return found

    async def keep(self) -> None:
        """For ever."""
        while True:
            try:
                more = await self._round()
            except OrielError as error:
                more = False
                _LOG.debug("the pool is not looked at", reason=error.message)
            except Exception as error:
                more = False
                neutral(error)
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(EVERY_S):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    def _give_way(self) -> None:
        """Somebody found no memory: what waits makes room."""
        self._needed = True
        self._news.set()

    # --- one round: what must go, then one that is missing. True if there may be more to do at once.

    async def _round(self) -> bool:
        if not self._adopted:
            await self._adopt()
            self._adopted = True
        if not self._settings.pool_size and not self._spares:
            return False
        await self._note_default()
        capacity = await self._fleet.capacity()
        for spare, why in await self._unwanted(capacity):
            await self._drop(spare, why)
        kind = self._missing(capacity)
        if kind is None or not await self._room.calm() or self._room.background.locked():
            return False
        async with self._room.background:
            return await self._make(kind)

    async def _adopt(self) -> None:
        """Take up what a controller before this one had made; remove what cannot be used."""
        occupants = await self._fleet.occupants()
        known = {one.id for one in await self._database.read(desktops.every)}
        known |= self._taken.keys() | {one.id for one in self._spares}
        for one in occupants:
            if not one.spare or one.name != SPARE or one.id in known:
                continue
            spec = await self._spec_of(one.id) if one.alive and one.warm else None
            if spec is None:
                await self._fleet.remove(one.id)
                continue
            await self._templates.look()
            kind = Kind.of(spec)
            self._spares.append(
                Spare(one.id, kind, self._templates.of(kind), await self._memory(one.id, kind))
            )
            _LOG.info("a waiting desktop is adopted", desktop=one.id)

    async def _spec_of(self, desktop_id: str) -> DesktopSpec | None:
        try:
            return DesktopSpec.from_json((await self._fleet.keeper(desktop_id).inspect())["spec"])
        except OrielError:
            return None

    async def _note_default(self) -> None:
        """What a wish that says nothing asks for is always kept."""
        if self._settings.pool_size == 0:
            return
        default = Kind.read(await self._admission.shape({}))
        if default != self._default:
            self._default = default
            self._demand.always(default)

    async def _unwanted(self, capacity: Capacity) -> list[tuple[Spare, str]]:
        self._newest = newest = _newest(await self._fleet.images())
        self._demand.forget(lambda kind: kind.image not in newest)
        found, left = [], {kind: self._demand.wanted(kind) for kind in self._demand.kinds}
        for spare in self._spares:
            if spare.kind.image not in newest:
                why = "its image was replaced"
            elif spare.kind.begins_at_templates and self._templates.of(spare.kind) != spare.template:
                why = "its template was replaced"
            elif left.get(spare.kind, 0) <= 0:
                why = "it is not asked for any more"
            elif not await self._waits(spare):
                why = "it has ended"
            else:
                left[spare.kind] -= 1
                continue
            found.append((spare, why))
        short = capacity.memory_free_mib < self._settings.memory_reserve_mib
        kept = [one for one in self._spares if one not in [gone for gone, _ in found]]
        if (short or self._needed) and kept:
            found.append((max(kept, key=lambda one: one.memory_mib), "its memory is needed"))
        self._needed = False
        return found

    async def _waits(self, spare: Spare) -> bool:
        return await self._seq_of(spare) is not None

    async def _seq_of(self, spare: Spare) -> int | None:
        """How far its journal has come; None if it is not ready any more."""
        try:
            told = await self._fleet.keeper(spare.id).hello()
        except OrielError:
            return None
        return int(told["seq"]) if told.get("warm") else None

    def _missing(self, capacity: Capacity) -> Kind | None:
        """The kind that is shortest of what is wanted, and that there is memory for."""
        shortage = {}
        self._obstacles.clear()
        for kind in self._demand.kinds:
            if kind.image not in self._newest:
                continue  # replaced since this round began
            there = [one.kind for one in self._spares] + [*self._taken.values()]
            lacking = self._demand.wanted(kind) - there.count(kind)
            if lacking <= 0 or not self._attempts.due(kind):
                continue
            if obstacle := self._obstacle(kind, capacity):
                self._obstacles[kind] = obstacle
                continue
            shortage[kind] = lacking
        return max(shortage, key=lambda kind: shortage[kind]) if shortage else None

    def _obstacle(self, kind: Kind, capacity: Capacity) -> str:
        if kind.begins_at_templates and not self._templates.of(kind):
            why = self._templates.problem(kind)
            return f"its template could not be made: {why}" if why else "it waits for its template"
        need = max(
            (one.memory_mib for one in self._spares if one.kind == kind),
            default=share_mib(self._settings, kind.memory_mib),
        )
        most = self._settings.pool_memory_mib or capacity.memory_mib // 4
        if sum(one.memory_mib for one in self._spares) + need > most:
            return f"waiting desktops may take {most} MiB of memory together"
        # Room for the next desktop of somebody is worth more than one that waits.
        rest = share_mib(self._settings, kind.memory_mib) + self._settings.memory_reserve_mib
        if capacity.memory_free_mib < need + rest:
            return f"the host has only {capacity.memory_free_mib} MiB of memory free"
        return ""

    async def _make(self, kind: Kind) -> bool:
        desktop_id = new_id()
        template = self._templates.of(kind)
        keeper = self._fleet.keeper(desktop_id)
        try:
            await self._fleet.create(kind.spare(desktop_id))
            await keeper.warm(deadline_s=self._settings.start_deadline_s)
        except (OrielError, TimeoutError) as error:
            why = str(error) or "the host did not answer in time"
            self._attempts.failed(kind, why)
            _LOG.warning("no desktop could be made ahead", kind=kind.to_json(), reason=why)
            await self._fleet.remove(desktop_id)
            return False
        self._attempts.succeeded(kind)
        self._spares.append(Spare(desktop_id, kind, template, await self._memory(desktop_id, kind)))
        return True

    async def _memory(self, desktop_id: str, kind: Kind) -> int:
        """What it takes, as its keeper measures it."""
        try:
            return int((await self._fleet.keeper(desktop_id).usage())["memory_mib"])
        except (OrielError, KeyError):
            return share_mib(self._settings, kind.memory_mib)

    async def _take(self, kind: Kind) -> tuple[Spare, int] | None:
        for spare in [one for one in self._spares if one.kind == kind]:
            if spare not in self._spares:
                continue  # somebody else had it, while we asked another
            self._spares.remove(spare)
            self._taken[spare.id] = kind  # from now on, until the database has it or it is back
            try:
                seq = await self._seq_of(spare)
            except BaseException:
                del self._taken[spare.id]
                self._spares.append(spare)
                raise
            if seq is not None:
                return spare, seq
            del self._taken[spare.id]
            await self._remove(spare, "it has ended")
        return None

    async def _drop(self, spare: Spare, why: str) -> None:
        if spare in self._spares:
            self._spares.remove(spare)
            await self._remove(spare, why)

    async def _remove(self, spare: Spare, why: str) -> None:
        _LOG.info("a waiting desktop is given up", desktop=spare.id, reason=why)
        try:
            await self._fleet.remove(spare.id)
        except (OrielError, TimeoutError) as error:
            self._adopted = False  # it is found again, and removed then
            _LOG.warning("it is still there", desktop=spare.id, reason=str(error))


def _newest(images: Iterable[Mapping[str, Any]]) -> set[str]:
    """Of each name the image that a wish for that name gets."""
    found: dict[str, Mapping[str, Any]] = {}
    for image in images:
        name = str(image.get("name"))
        if name not in found or str(image["created_at"]) > str(found[name]["created_at"]):
            found[name] = image
    return {str(image["id"]) for image in found.values()}
