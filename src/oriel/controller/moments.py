"""Desktops put aside, woken, copied and rolled back: the API's wishes, brought about by their keepers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from oriel.controller.draining import Draining
from oriel.controller.live import Live
from oriel.controller.room import Room
from oriel.controller.store.database import Transaction
from oriel.controller.store.desktops import Desktop, Wanted
from oriel.controller.supervisor import Supervisor
from oriel.fleet import Fleet
from oriel.host.settings import Settings
from oriel.model.errors import NotFoundError, OrielError, StateError
from oriel.model.state import State

__all__ = ["Moments"]

_S = State
FORK = "fork-"  # the beginning of the names of snapshots that are taken for a fork, and go after it
ASLEEP = (_S.PAUSING, _S.PAUSED, _S.RESUMING)


class Moments:
    """Over a `Supervisor`. Concurrent wishes to wake one desktop are one wish."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        fleet: Fleet,
        live: Live,
        room: Room,
        settings: Settings,
        draining: Draining,
    ) -> None:
        self._supervisor = supervisor
        self._room = room
        self._fleet = fleet
        self._live = live
        self._settings = settings
        self._draining = draining
        self._waking: dict[str, asyncio.Task[OrielError | None]] = {}

    async def pause(self, desktop_id: str) -> Desktop:
        """Paused when this returns; those who look at it are told. If it cannot, it runs on."""
        supervisor = self._supervisor
        async with supervisor.turn(desktop_id):
            desktop = await supervisor.get(desktop_id)
            if desktop.state is _S.PAUSED:
                return desktop
            if desktop.state is not _S.RUNNING:
                raise StateError(f"the desktop is {desktop.state}: it cannot pause", hint="start it first")
            await supervisor.move(desktop_id, _S.PAUSING, wanted=Wanted.PAUSED)
            paused = StateError("the desktop was paused", hint="open it again: it wakes", code="paused")
            self._live.end(lambda one: one.desktop == desktop_id and one.kind != "events", paused)
            async with self._corrected(desktop_id):
                await self._fleet.keeper(desktop_id).pause(deadline_s=self._settings.start_deadline_s)
            return await supervisor.move(desktop_id, _S.PAUSED)

    async def resume(self, desktop_id: str) -> Desktop:
        """Running when this returns; it goes on when the caller does not wait."""
        self._draining.check()
        waking = self._waking.get(desktop_id)
        if waking is None:
            waking = self._supervisor.spawn(self._resume(desktop_id), f"resume {desktop_id}")
            self._waking[desktop_id] = waking
            waking.add_done_callback(lambda _: self._waking.pop(desktop_id, None))
        if (error := await asyncio.shield(waking)) is not None:
            raise error
        return await self._supervisor.get(desktop_id)

    async def awake(self, desktop: Desktop) -> Desktop:
        """`desktop`, woken if it is paused; as it is in any other state."""
        return await self.resume(desktop.id) if desktop.state in ASLEEP else desktop

    async def _resume(self, desktop_id: str) -> None:
        supervisor = self._supervisor
        async with supervisor.turn(desktop_id):
            desktop = await supervisor.get(desktop_id)
            if desktop.state is _S.RUNNING:
                return
            if desktop.state is not _S.PAUSED:
                raise StateError(f"the desktop is {desktop.state}", hint="only a paused one can resume")
            await self._room.check(desktop.memory_mib)
            with self._room.kept(desktop_id, desktop.memory_mib):
                async with self._room.turns:
                    await self._go_on(desktop)

    async def _go_on(self, desktop: Desktop) -> None:
        supervisor, desktop_id = self._supervisor, desktop.id
        await supervisor.move(desktop_id, _S.RESUMING, wanted=Wanted.RUNNING)
        async with self._corrected(desktop_id):
            await supervisor.configure(desktop)
            keeper = self._fleet.keeper(desktop_id)
            timings = await keeper.resume(deadline_s=self._settings.start_deadline_s)
        await supervisor.move(desktop_id, _S.RUNNING, timings={**desktop.timings, **timings})

    async def snapshot(self, desktop_id: str, name: str) -> dict[str, Any]:
        if name.startswith(FORK):
            raise StateError(f"names that begin with {FORK} are taken", hint="choose another name")
        async with self._supervisor.turn(desktop_id):
            return await self._take(desktop_id, name)

    async def _take(self, desktop_id: str, name: str) -> dict[str, Any]:
        deadline_s = self._settings.start_deadline_s
        return await self._fleet.keeper(desktop_id).snapshot(name, deadline_s=deadline_s)

    async def snapshots(self, desktop_id: str) -> list[dict[str, Any]]:
        """Newest first, without those that only a fork needs."""
        found = await self._fleet.keeper(desktop_id).snapshots()
        return [one for one in found if not str(one["name"]).startswith(FORK)]

    async def delete_snapshot(self, desktop_id: str, name: str) -> None:
        await self._fleet.keeper(desktop_id).delete_snapshot(name)

    async def rewind(self, desktop_id: str, name: str) -> Desktop:
        """As it was at the snapshot, and running, when this returns. What it was before is given up."""
        supervisor, keeper = self._supervisor, self._fleet.keeper(desktop_id)
        async with supervisor.turn(desktop_id):
            desktop = await supervisor.get(desktop_id)
            if desktop.state not in (_S.RUNNING, _S.PAUSED, _S.STOPPED, _S.FAILED):
                raise StateError(
                    f"the desktop is {desktop.state}: it cannot return now", hint="try again soon"
                )
            if name not in [one["name"] for one in await keeper.snapshots()]:
                raise NotFoundError(f"there is no snapshot {name!r}", hint="take one: `oriel snapshot`")
            if desktop.state is not _S.STOPPED:
                await supervisor.move(desktop_id, _S.STOPPING, message=f"returning to {name}")
            async with self._corrected(desktop_id):
                await keeper.rewind(name, deadline_s=self._settings.start_deadline_s)
            await supervisor.move(desktop_id, _S.STOPPED)
        await supervisor.start(desktop_id)
        return await supervisor.started(desktop_id)

    async def fork(
        self, source: Desktop, new: Desktop, snapshot: str | None, before: Callable[[Transaction], None]
    ) -> Desktop:
        """`new`, on its way, as `source` is now or was at `snapshot`."""
        name = snapshot or f"{FORK}{secrets.token_hex(5)}"
        async with self._supervisor.turn(source.id):
            if snapshot is None:
                await self._take(source.id, name)
        try:
            return await self._supervisor.create(replace(new, origin=f"{source.id}/{name}"), before)
        finally:
            if snapshot is None:
                self._supervisor.spawn(self._forget_fork(source.id, new.id, name), f"forget {name}")

    async def _forget_fork(self, source_id: str, new_id: str, name: str) -> None:
        try:
            await self._supervisor.made(new_id)
        finally:
            await self._fleet.keeper(source_id).delete_snapshot(name)

    @asynccontextmanager
    async def _corrected(self, desktop_id: str) -> AsyncIterator[None]:
        """If the block fails, the desktop's state becomes what its keeper says before the error goes on."""
        try:
            yield
        except OrielError:
            await self._supervisor.correct(desktop_id)
            raise
