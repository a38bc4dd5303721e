"""Taking up what the journal says a former keeper left: its machine is adopted, or all of it cleared away.

What decides is, in this order: whether the desktop was being deleted; whether a moment of its own is whole on
the disk (`paused/`), which no machine has gone on from; and whether the machine lives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from oriel.host.probes import boot_id
from oriel.keeper.assembly import Steps, adopt, dismantle, wake
from oriel.keeper.desktop import Desktop, unexpected
from oriel.keeper.moments import discard_partial
from oriel.keeper.origin import return_to, unspend
from oriel.keeper.undo import Problem
from oriel.machine.driver import Halting
from oriel.model.errors import LaunchError, OrielError
from oriel.model.state import State

__all__ = ["recover"]

WAKE_DEADLINE_S = 60
_LOG = logging.getLogger(__name__)
_S = State


async def recover(desktop: Desktop) -> None:
    """Once, before the first verb. Afterwards the desktop is at rest, or runs."""
    plan = desktop.plan
    ledger = plan.journal.ledger
    same_boot = ledger.boot_id == boot_id()
    was, gone, record = ledger.state, ledger.gone, (ledger.machine or {}).get("record")
    plan.journal.record("keeper.started", slot=plan.slot, boot_id=boot_id())
    await discard_partial(plan.paths)
    kept = plan.paths.paused.exists()
    if (
        (was is _S.STOPPED and ledger.rewinding is None)
        or (was is _S.CREATING and record is None)
        or (was is _S.PAUSED and kept)
    ):
        return
    if record is not None and same_boot and await _take_up(desktop, was, record, kept=kept):
        return
    problems = await _clear(desktop, record)
    if ledger.rewinding is not None and plan.paths.snapshot(ledger.rewinding).exists():
        await return_to(plan.paths, ledger.rewinding)
        plan.journal.record("rewind.done", name=ledger.rewinding)
    why = "the keeper was killed" if same_boot else "the host restarted"
    await _come_to_rest(desktop, was, why, problems, gone=gone, same_boot=same_boot)


async def _come_to_rest(
    desktop: Desktop, was: State, why: str, problems: list[Problem], *, gone: bool, same_boot: bool
) -> None:
    """The state of a desktop of which nothing runs."""
    kept = desktop.plan.paths.paused.exists()
    if gone or was is _S.DELETING:
        await desktop.finish_delete(problems)
    elif was in (_S.PAUSING, _S.RESUMING) and kept:
        desktop.become(_S.PAUSED, reason=why)
    elif was is _S.STOPPING or (was in (_S.RUNNING, _S.PAUSED) and not same_boot):
        desktop.become(_S.STOPPED, reason=why)
    elif was is _S.CREATING:
        desktop.plan.paths.disk_image.unlink(missing_ok=True)
    elif was not in (_S.FAILED, _S.STOPPED):
        error = LaunchError(f"{why} while the desktop was {was}", hint="start it again", code="interrupted")
        desktop.fail(error, problems=problems)


async def _take_up(desktop: Desktop, was: State, record: Mapping[str, Any], *, kept: bool) -> bool:
    """Adopt a machine that lives, if it is to live on. False: all of it is to be cleared away."""
    plan = desktop.plan
    if was is _S.RUNNING or (was is _S.PAUSED and not kept):
        await _readopt(desktop, record)
        if was is _S.RUNNING:
            await _go_on(desktop)
        return True
    if was not in (_S.PAUSING, _S.RESUMING, _S.STARTING) or kept:
        return False
    machine = await plan.driver.adopt(plan.machine_spec, record)
    await unspend(plan.paths, machine)
    if machine is None or was is _S.STARTING or plan.paths.paused.exists():
        return False
    # Its memory is nowhere but in the machine: what was begun is given up, or brought to its end.
    await _readopt(desktop, record)
    if desktop.assembly is not None and await _go_on(desktop, always=True):
        desktop.become(_S.RUNNING, reason="the keeper was killed")
    return True


async def _go_on(desktop: Desktop, *, always: bool = False) -> bool:
    """Let a machine that stands still go on, and tell it the time: its keeper was killed in the middle of a
    pause or of a snapshot. `always`: also one that runs, which may not know the time."""
    assembly = desktop.assembly
    if assembly is None:
        return False
    try:
        if isinstance(assembly.machine, Halting):
            if not always and not await assembly.machine.halted():
                assembly.runs()
                return True
            await assembly.machine.go_on()
        await wake(assembly, Steps(desktop.plan.journal, WAKE_DEADLINE_S))
        assembly.runs()
    except OrielError as error:
        desktop.assembly = None
        desktop.fail(error, console=desktop.console_tail(), problems=await desktop.undo.unwind())
        return False
    return True


async def _readopt(desktop: Desktop, record: Mapping[str, Any]) -> None:
    try:
        desktop.assembly = await adopt(desktop.plan, record, desktop.undo)
        error: OrielError = LaunchError(
            "the machine ended while no keeper watched it", hint="start it again", code="machine_exited"
        )
    except OrielError as failure:
        error = failure
    except Exception as failure:
        _LOG.exception("adopting failed")
        error = unexpected("adopting the machine", failure)
    if desktop.assembly is not None:
        desktop.plan.journal.record("keeper.adopted", "egress is closed until it is configured again")
        desktop.look_after(desktop.assembly)
        return
    console = desktop.console_tail()
    desktop.fail(error, console=console, problems=await desktop.undo.unwind())


async def _clear(desktop: Desktop, record: Mapping[str, Any] | None) -> list[Problem]:
    await dismantle(desktop.plan, record, desktop.undo)
    return await desktop.undo.unwind()
