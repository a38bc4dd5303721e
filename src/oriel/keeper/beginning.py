"""How a desktop's machine comes to run: from a moment of its own, from a template, or by a boot."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from oriel.host.threads import in_thread
from oriel.keeper.assembly import (
    WINDOWS,
    Assembly,
    Plan,
    Steps,
    assemble,
    personalise,
    wake,
    while_alive,
)
from oriel.keeper.moments import Kept, erase, read_moment, write_moment
from oriel.keeper.origin import Origin
from oriel.keeper.undo import UndoStack
from oriel.machine.driver import Halting, Restoring, Saving
from oriel.model.egress import EgressSpec
from oriel.model.errors import HostError, LaunchError, UnavailableError

__all__ = ["begin", "make_template", "not_supported", "warm"]

QUIET_WITHIN_S = 40.0  # once it was left alone for long enough: a quiet template is better, but any will do
# What begins at a template is ready in a second, on the worst of hosts in half a minute; one that is not is
# damaged, and a boot is better.
PATIENCE_S = 240.0
LEAST_S = 5.0  # with less than this left of a start, another beginning is no use


async def begin(plan: Plan, egress: EgressSpec, steps: Steps, undo: UndoStack, *, resuming: bool) -> Assembly:
    """The desktop's machine, and in it the desktop that it is to be. On any error the caller unwinds `undo`.

    What cannot be gone on from is left, with the reason in the journal, for the next best beginning.
    `resuming`: one that goes on from a moment of its own is only told the time; it knows the rest.
    """
    origin = await choose(plan)
    if origin is not None and not origin.own:
        if (begun := await _at_template(plan, egress, steps, undo, origin)) is not None:
            return begun
        origin = None
    assembly = await assemble(plan, egress, steps, undo, origin=origin)
    if assembly.own and resuming:
        await wake(assembly, steps)
    else:
        await personalise(plan, assembly, steps)
    return assembly


async def _at_template(
    plan: Plan, egress: EgressSpec, steps: Steps, undo: UndoStack, origin: Origin
) -> Assembly | None:
    """None if nothing can begin there: then the template is gone, and nothing is left of the attempt."""
    template = origin.moment.directory
    try:
        async with asyncio.timeout(PATIENCE_S):
            assembly = await assemble(plan, egress, steps, undo, origin=origin)
            await personalise(plan, assembly, steps)
            return assembly
    except (LaunchError, HostError, UnavailableError) as error:
        if steps.left_s <= LEAST_S:
            raise
        why = error.message
    except TimeoutError:
        why = f"what began there was not ready within {PATIENCE_S:g} s"
    plan.journal.record("template.unusable", why, template=template.name)
    for problem in await undo.unwind():
        plan.journal.record("undo.failed", problem.detail, must_write=False, step=problem.step)
    await in_thread(lambda: erase(template))
    await in_thread(lambda: plan.paths.disk_image.unlink(missing_ok=True))
    return None


async def choose(plan: Plan) -> Origin | None:
    """Where to begin; None for a boot."""
    key, driver, paths = await plan.key(), plan.driver, plan.paths
    if key is None or not isinstance(driver, Restoring):
        return None
    own, template = paths.paused, plan.home.template(key.name)
    if await in_thread(own.exists):
        try:
            return Origin(driver, await in_thread(lambda: read_moment(own, key)), own=True)
        except HostError as error:
            plan.journal.record("memory.unusable", f"{error.message}: it boots from its disk")
            await in_thread(lambda: erase(own))
    if await in_thread(paths.disk_image.exists) or not await in_thread(template.exists):
        return None
    try:
        return Origin(driver, await in_thread(lambda: read_moment(template, key)), own=False)
    except HostError as error:
        plan.journal.record("template.unusable", error.message, template=template.name)
        await in_thread(lambda: erase(template))
        return None


async def warm(plan: Plan, steps: Steps, undo: UndoStack) -> Assembly:
    """A desktop that waits for its name, standing still if its runtime can: it costs no processor then.

    It is given a name that is nobody's first: a rehearsal, in which an emulated processor meets the code that
    will be run again when somebody waits for it.
    """
    assembly = await begin(plan, EgressSpec(), steps, undo, resuming=False)
    if isinstance(assembly.machine, Halting):
        await assembly.machine.halt()
    return replace(assembly, painted=True)


async def make_template(plan: Plan, steps: Steps, undo: UndoStack, *, settle_s: float) -> Kept:
    """Boot, wait until it is ready and quiet, and keep that moment for all desktops of this kind.

    `settle_s`: for how long it is left alone at least. What it does by itself after its start, each desktop
    that began at the template would do again, and keep in memory of its own.
    The machine is left halted: the caller unwinds `undo`, also on any error.
    """
    key = await plan.key()
    if key is None:
        raise not_supported(plan, "be restored, so it needs no template")
    directory = plan.home.template(key.name)
    assembly = await assemble(plan, EgressSpec(), steps, undo)
    machine, guest = assembly.machine, assembly.guest
    async with steps.step("windows"):
        await while_alive(machine, guest.wait_ready(WINDOWS, deadline_s=steps.left_s * 0.95))
    async with steps.step("settle"):
        least_s = min(settle_s, max(0.0, steps.left_s - QUIET_WITHIN_S))
        await while_alive(machine, guest.settle(least_s=least_s, deadline_s=least_s + QUIET_WITHIN_S))
    async with steps.step("save"):
        if not isinstance(machine, Saving):
            raise not_supported(plan, "be saved")
        await in_thread(lambda: erase(directory))
        await while_alive(machine, guest.mark_generators(deadline_s=steps.left_s))
        return await write_moment(
            directory, machine, key, disk=plan.paths.disk_image, copy=True, template=True
        )


def not_supported(plan: Plan, what: str) -> UnavailableError:
    """For a power that a runtime has not."""
    return UnavailableError(
        f"the runtime {plan.spec.runtime} cannot {what}",
        hint="a virtual machine can: create the desktop with --runtime qemu",
        code="not_supported",
    )
