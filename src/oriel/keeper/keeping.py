"""Putting a desktop aside and keeping moments of it; and giving a warm one its name."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from typing import Any

from oriel.host.records import write_json
from oriel.host.threads import in_thread
from oriel.keeper.assembly import Assembly
from oriel.keeper.beginning import not_supported
from oriel.keeper.desktop import Desktop, outcome_of, unexpected
from oriel.keeper.moments import copy_moment, erase, known, read_moment, write_moment
from oriel.keeper.origin import return_to
from oriel.keeper.require import require
from oriel.machine.driver import Halting, Saving
from oriel.model.errors import Fault, InvalidError, LaunchError, NotFoundError, OrielError, StateError
from oriel.model.spec import DesktopSpec
from oriel.model.state import State

__all__ = ["Keeping"]

_LOG = logging.getLogger(__name__)
_S = State
MARK_DEADLINE_S = 60  # a second of an emulated processor, and much less of a real one
CHANGEABLE = ("name", "session_id", "screen", "spare")  # what a warm desktop is told when it is taken


class Keeping:
    """Verbs over a `Desktop`; as its own, one at a time, each checking the state first."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop = desktop

    @property
    def state(self) -> State:
        return self.desktop.state

    @require(_S.RUNNING)
    async def pause(self) -> dict[str, Any]:
        """Write its memory down and free everything else; a container is only frozen, and keeps its memory.

        On failure it runs on, and the error is raised.
        """
        assembly = self._assembly()
        if not isinstance(machine := assembly.machine, Halting):
            raise not_supported(self.desktop.plan, "pause")
        self.desktop.become(_S.PAUSING)
        return await self._work("pause", lambda: self._pause(assembly, machine))

    @require(_S.RUNNING, _S.PAUSED)
    async def snapshot(self, name: str) -> dict[str, Any]:
        """Keep memory and disk under `name`. A running desktop stands still for a moment only."""
        directory = self.desktop.plan.paths.snapshot(name)
        if await in_thread(directory.exists):
            raise StateError(f"there is already a snapshot {name}", hint="delete it, or choose another name")
        return await self._work("snapshot", lambda: self._snapshot(name))

    async def snapshots(self) -> list[dict[str, Any]]:
        """Those kept, newest first: `{name, at, bytes, seconds}`."""
        directory = self.desktop.plan.paths.snapshots

        def look() -> list[dict[str, Any]]:
            found = []
            for entry in directory.iterdir() if directory.exists() else ():
                if (kept := known(entry)) is not None:
                    told = asdict(kept)
                    found.append({"name": entry.name, "at": told["at"], "bytes": told["bytes_own"],
                                  "seconds": told["seconds"]})  # fmt: skip
            return sorted(found, key=lambda item: str(item["at"]), reverse=True)

        return await in_thread(look)

    async def delete_snapshot(self, name: str) -> None:
        """What it shares with others stays theirs. NotFoundError if there is none."""
        directory = self.desktop.plan.paths.snapshot(name)
        async with self.desktop.building:
            if not await in_thread(directory.exists):
                raise _no_snapshot(name)
            await in_thread(lambda: erase(directory))
        self.desktop.plan.journal.record("snapshot.deleted", name=name)

    @require(_S.RUNNING, _S.PAUSED, _S.STOPPED, _S.FAILED)
    async def rewind(self, name: str) -> dict[str, Any]:
        """Make disk and memory what they were at a snapshot; `start` goes on from there.

        What the desktop is now is given up. Nothing is touched if the snapshot cannot be gone on from.
        """
        plan = self.desktop.plan
        directory, key = plan.paths.snapshot(name), await plan.key()
        if not await in_thread(directory.exists):
            raise _no_snapshot(name)
        if key is None:
            raise not_supported(plan, "return to a snapshot")
        await in_thread(lambda: read_moment(directory, key))
        if self.state is not _S.STOPPED:
            self.desktop.become(_S.STOPPING, reason=f"rewinding to {name}")
        plan.journal.record("rewind.begun", name=name)
        return await self._work("rewind", lambda: self._rewind(name))

    @require(_S.CREATING)
    async def assign(self, spec: DesktopSpec) -> None:
        """Give a desktop that was made ahead its name and session; what its machine is cannot change."""
        desktop = self.desktop
        same = replace(desktop.plan.spec, **{name: getattr(spec, name) for name in CHANGEABLE})
        if spec != same:
            fault = Fault("spec", f"only {', '.join(CHANGEABLE)} of a desktop that was made can change")
            raise InvalidError.of([fault])
        if spec != desktop.plan.spec:
            path = desktop.plan.paths.spec
            gid = path.stat().st_gid
            await in_thread(lambda: write_json(path, spec.to_json(), mode=0o640, gid=gid))
            desktop.plan = replace(desktop.plan, spec=spec)

    # --- the work

    async def _pause(self, assembly: Assembly, machine: Halting) -> dict[str, Any]:
        desktop, began = self.desktop, time.monotonic()
        told: dict[str, Any] = {"frozen": not isinstance(machine, Saving)}
        try:
            if isinstance(machine, Saving):
                key = await desktop.plan.key()
                if key is None:
                    raise not_supported(desktop.plan, "be restored")
                paths = desktop.plan.paths
                await in_thread(lambda: erase(paths.paused))
                await desktop.guest.mark_generators(deadline_s=MARK_DEADLINE_S)
                kept = await write_moment(paths.paused, machine, key, disk=paths.disk_image, copy=False)
                told |= {"bytes": kept.bytes_own}
            else:
                await machine.halt()
        except OrielError as error:
            await self._run_on(assembly, machine, error)
            raise
        if isinstance(machine, Saving):
            desktop.assembly = None
            for problem in await desktop.undo.unwind():
                desktop.plan.journal.record("undo.failed", problem.detail, must_write=False)
        told["seconds"] = round(time.monotonic() - began, 3)
        desktop.become(_S.PAUSED, **told)
        return told

    async def _run_on(self, assembly: Assembly, machine: Halting, error: OrielError) -> None:
        try:
            await machine.go_on()
            assembly.runs()
        except OrielError:
            desktop = self.desktop
            desktop.assembly = None
            problems = await desktop.undo.unwind()
            desktop.fail(error, problems=problems)
        else:
            self.desktop.become(_S.RUNNING, message=f"not paused: {error.message}")

    async def _snapshot(self, name: str) -> dict[str, Any]:
        plan, began = self.desktop.plan, time.monotonic()
        directory = plan.paths.snapshot(name)
        if self.desktop.assembly is None:
            await copy_moment(plan.paths.paused, directory, disk=plan.paths.disk_image, copy=None)
            stood = 0.0
        else:
            assembly, key = self._assembly(), await plan.key()
            if not isinstance(machine := assembly.machine, Saving) or key is None:
                raise not_supported(plan, "take snapshots")
            await self.desktop.guest.mark_generators(deadline_s=MARK_DEADLINE_S)

            async def go_on() -> None:
                await machine.go_on()
                assembly.runs()

            kept = await write_moment(
                directory, machine, key, disk=plan.paths.disk_image, copy=True, then=go_on
            )
            stood = kept.seconds
        seconds = round(time.monotonic() - began, 3)
        plan.journal.record("snapshot.taken", name=name, seconds=seconds, stood_still_s=stood)
        return {"name": name, "seconds": seconds, "stood_still_s": stood}

    async def _rewind(self, name: str) -> dict[str, Any]:
        desktop = self.desktop
        plan, began = desktop.plan, time.monotonic()
        desktop.assembly = None
        problems = await desktop.undo.unwind()
        if problems:
            error = LaunchError(
                "the desktop could not be ended", hint="stop it, and try again", code="unclean"
            )
            desktop.fail(error, problems=problems)
            raise error
        await return_to(plan.paths, name)
        plan.journal.record("rewind.done", name=name)
        if self.state is _S.STOPPING:
            desktop.become(_S.STOPPED, reason=f"rewound to {name}")
        return {"seconds": round(time.monotonic() - began, 3)}

    def _assembly(self) -> Assembly:
        assembly: Assembly | None = self.desktop.assembly
        if assembly is None:
            raise StateError(f"the desktop is {self.state}", hint="start it first (`oriel start`)")
        return assembly

    async def _work(
        self, name: str, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
    ) -> dict[str, Any]:
        """Do it alone, and to its end, also when whoever asked for it goes away."""
        told: dict[str, Any] = {}

        async def run() -> OrielError | None:
            async with self.desktop.building:
                try:
                    told.update(await work())
                except OrielError as error:
                    return error
                except Exception as error:
                    _LOG.exception("%s failed", name)
                    return unexpected(name, error)
                return None

        await outcome_of(self.desktop.plan.group.create_task(run(), name=name))
        return told


def _no_snapshot(name: str) -> NotFoundError:
    return NotFoundError(f"there is no snapshot {name}", hint="`oriel show` lists those of a desktop")
