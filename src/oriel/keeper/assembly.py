"""What a running desktop is made of on the host, put together step by step and taken apart in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from oriel.host.layout import DesktopPaths, Home
from oriel.host.namespaces import NetnsSockets, netns_mounted
from oriel.host.occupants import end_occupants
from oriel.host.process import ProcessId, end
from oriel.host.slots import process_uid
from oriel.host.template import TemplateKey
from oriel.keeper.access import AccessLog
from oriel.keeper.clock import Clock
from oriel.keeper.gateway import Gateway
from oriel.keeper.guest import Announcements, Guest
from oriel.keeper.journal import Journal
from oriel.keeper.origin import Origin
from oriel.keeper.undo import UndoStack
from oriel.machine.driver import Driver, ImageFiles, Machine, MachineSpec, Restoring
from oriel.model.egress import EgressSpec
from oriel.model.errors import LaunchError, OrielError, UnavailableError
from oriel.model.spec import DesktopSpec, Runtime
from oriel.network.link import link_of, make_link, open_gateway_sockets, remove_link

__all__ = [
    "WINDOWS",
    "Assembly",
    "Plan",
    "Steps",
    "adopt",
    "assemble",
    "dismantle",
    "machine_spec_of",
    "personalise",
    "wake",
    "while_alive",
]

WINDOWS = ("terminal", "browser")
LAST_WORDS_S = 0.5  # from a lost connection to the end of its machine
T = TypeVar("T")
_LOG = logging.getLogger(__name__)

HINTS = {
    "link": "`oriel doctor` checks namespaces and nftables",
    "disk": "`oriel doctor` checks the home's disk",
    "gateway": "keeper.log in the desktop's directory has the gateway's output",
    "machine": "console.log in the desktop's directory shows how far it got",
    "agent": "the guest did not get as far as its agent: console.log shows where it stands",
    "identity": "the agent runs but does not answer: see `systemctl status oriel-agent` in console.log",
    "windows": "the guest is up but its screen is not: the units xvfb, desktop or the browser fail",
    "clock": "the guest does not answer after its pause: stop it, and start it from its disk",
}


@dataclass(frozen=True)
class Plan:
    """What one desktop is made from. `group` keeps its background work."""

    home: Home
    spec: DesktopSpec
    slot: int
    driver: Driver
    journal: Journal
    group: asyncio.TaskGroup

    @property
    def paths(self) -> DesktopPaths:
        return self.home.desktop(self.spec.id)

    @property
    def uid(self) -> int:
        """Of the gateway and of a VMM."""
        return process_uid(self.slot)

    async def key(self) -> TemplateKey | None:
        """What a moment of this desktop must have been saved under; None if its runtime keeps none."""
        if not isinstance(self.driver, Restoring):
            return None
        return TemplateKey.of(self.spec, await self.driver.engine(self.machine_spec))

    @property
    def machine_spec(self) -> MachineSpec:
        return machine_spec_of(self.home, self.spec, slot=self.slot)


def machine_spec_of(home: Home, spec: DesktopSpec, *, slot: int) -> MachineSpec:
    """What a driver is told of a desktop."""
    paths = home.desktop(spec.id)
    return MachineSpec(
        desktop_id=spec.id, slot=slot, image=ImageFiles.of(home.image(spec.image)),
        disk=paths.disk_image, disk_gib=spec.disk_gib, vcpus=spec.vcpus, memory_mib=spec.memory_mib,
        directory=paths.machine, console=paths.console_log, disk_mount=paths.disk_mount,
        root_mount=paths.root_mount, link=link_of(spec.id, spec.runtime), rates=spec.rates,
    )  # fmt: skip


@dataclass(frozen=True)
class Assembly:
    """A machine with its way out and its guest. `undo` takes all of it away again.

    `own`: it went on from a moment of its own, and knows who it is. `painted`: its windows were on the screen
    when its moment was kept.
    """

    machine: Machine
    gateway: Gateway
    guest: Guest
    undo: UndoStack
    clock: Clock | None  # None: its kernel is the host's
    own: bool = False
    painted: bool = False

    def runs(self) -> None:
        """It was just begun, or stood still: its clock is not right by itself."""
        if self.clock is not None:
            self.clock.keep()


class Steps:
    """The steps of one start: each announced in the journal before it begins, and timed."""

    def __init__(self, journal: Journal, deadline_s: float) -> None:
        self.current = ""
        self._journal = journal
        self._began = time.monotonic()
        self._deadline_s = deadline_s

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        self.current = name
        self._journal.record(f"begin.{name}")
        began = time.monotonic()
        yield
        self._journal.record(f"step.{name}", must_write=False, seconds=round(time.monotonic() - began, 4))

    @property
    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began, 4)

    @property
    def left_s(self) -> float:
        return self._deadline_s - self.elapsed_s

    def late(self) -> UnavailableError:
        """The error when the deadline has passed, naming what was waited for."""
        return UnavailableError(
            f"not ready within {self._deadline_s:g} s: the step {self.current!r} was not done",
            hint=HINTS.get(self.current, ""),
            code="start_timeout",
        )


async def assemble(
    plan: Plan, egress: EgressSpec, steps: Steps, undo: UndoStack, *, origin: Origin | None = None
) -> Assembly:
    """Bring a desktop's machine up, until its agent answers. On any error the caller unwinds `undo`.

    `origin`: the moment it begins at instead of a boot.
    """
    spec, driver, machine_spec = plan.spec, plan.driver, plan.machine_spec
    async with steps.step("link"):
        undo.push("link", lambda: remove_link(spec.id))
        await make_link(spec.id, spec.runtime, plan.uid)
    async with steps.step("disk"):
        # The machine's remains first: after a kill -9 of machine and keeper its mounts may still stand.
        await driver.release(machine_spec)
        if origin is not None:
            await origin.prepare_disk(machine_spec.disk)
        else:
            await driver.prepare_disk(machine_spec)
    async with steps.step("gateway"):
        guest, gateway, announcements = await _open_network(plan, egress, undo)
    async with steps.step("machine"):
        undo.push("machine", lambda: _clear_machine(plan))
        machine = await (driver.start(machine_spec) if origin is None else origin.restore(machine_spec))
        undo.push("machine process", machine.kill)
        plan.journal.record(
            "machine.started",
            record=dict(machine.record),
            runtime=str(spec.runtime),
            isolation=str(machine.isolation),
            origin=None if origin is None else origin.name,
        )
        if origin is not None:
            await origin.go_on(machine)
    async with steps.step("agent"):
        # One that is restored announced itself before the moment was taken.
        await while_alive(machine, announcements.wait() if origin is None else guest.reach())
        # Started before the machine; here at the latest it must be there.
        await gateway.ready()
    own = origin is not None and origin.own
    return Assembly(
        machine, gateway, guest, undo, _clock_of(plan, guest, undo),
        own=own, painted=origin is not None and not own,
    )  # fmt: skip


async def personalise(plan: Plan, assembly: Assembly, steps: Steps) -> None:
    """Make the desktop that runs there this desktop, and wait for two painted windows.

    What began at a moment has its windows, and the screen that they are laid out on: both go side by side.
    """
    machine, guest = assembly.machine, assembly.guest

    async def identity() -> None:
        async with steps.step("identity"):
            await while_alive(machine, guest.personalise(plan.spec, deadline_s=steps.left_s))

    async def windows() -> None:
        async with steps.step("windows"):
            # A little less than is left: the guest knows better than we which window is missing.
            await while_alive(machine, guest.wait_ready(WINDOWS, deadline_s=steps.left_s * 0.95))

    if assembly.painted:
        await _side_by_side(identity(), windows())
    else:
        await identity()
        await windows()


async def _side_by_side(*works: Coroutine[Any, Any, None]) -> None:
    """All of them, or the first error; then none goes on."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wake(assembly: Assembly, steps: Steps) -> None:
    """Tell a desktop that went on after a pause what time it is."""
    async with steps.step("clock"):
        await while_alive(assembly.machine, assembly.guest.wake(deadline_s=steps.left_s))


async def adopt(plan: Plan, record: Mapping[str, Any], undo: UndoStack) -> Assembly | None:
    """Take over a machine that outlived its keeper; None if it did not. The caller unwinds on error.

    The way out is closed (mode `none`) until it is configured again: its secrets died with the keeper.
    """
    undo.push("link", lambda: remove_link(plan.spec.id))
    undo.push("machine", lambda: _clear_machine(plan))
    machine = await plan.driver.adopt(plan.machine_spec, record)
    if machine is None:
        return None
    undo.push("machine process", machine.kill)
    if not netns_mounted(plan.machine_spec.link.netns):
        raise UnavailableError("the machine lives, but its network namespace is gone", hint="start it again")
    guest, gateway, _ = await _open_network(plan, EgressSpec(), undo)
    await gateway.ready()
    return Assembly(machine, gateway, guest, undo, _clock_of(plan, guest, undo))


async def dismantle(plan: Plan, record: Mapping[str, Any] | None, undo: UndoStack) -> None:
    """Push what takes away anything a dead keeper may have left, known from its journal or not."""
    undo.push("link", lambda: remove_link(plan.spec.id))
    undo.push("machine", lambda: _clear_machine(plan))
    if record is not None:
        try:
            machine = await plan.driver.adopt(plan.machine_spec, record)
        except OrielError as error:
            # Not fit to be watched any more; releasing ends it all the same.
            _LOG.warning("the machine cannot be adopted: %s", error)
            machine = None
        if machine is not None:
            undo.push("machine process", machine.kill)
    undo.push("gateway", lambda: _end_former_gateway(plan))


async def _open_network(
    plan: Plan, egress: EgressSpec, undo: UndoStack
) -> tuple[Guest, Gateway, Announcements]:
    """The sockets inside the namespace, the gateway behind them, and the guest as seen from there."""
    await _end_former_gateway(plan)
    inside = await NetnsSockets.open(plan.machine_spec.link.netns)
    undo.push("sockets", _later(inside.close))
    listeners = await open_gateway_sockets(inside)
    undo.push("listeners", _later(listeners.close))

    def announced() -> None:
        plan.journal.record("agent.announced", must_write=False)

    announcements = await Announcements.open(listeners.announce, announced)
    undo.push("announcements", announcements.close)
    gateway = Gateway(
        listeners, uid=plan.uid, log=plan.paths.keeper_log, access=AccessLog(plan.paths.access_log),
        counters=plan.paths.egress_counters, journal=plan.journal, spec=egress,
    )  # fmt: skip
    undo.push("gateway", gateway.close)
    await gateway.start(plan.group)
    return Guest(inside), gateway, announcements


def _clock_of(plan: Plan, guest: Guest, undo: UndoStack) -> Clock | None:
    if plan.spec.runtime is Runtime.CONTAINER:
        return None
    clock = Clock(guest, plan.group)
    undo.push("clock", clock.close)
    return clock


async def _end_former_gateway(plan: Plan) -> None:
    """The last keeper's gateway exits by itself, but its sockets must be gone before ours are made."""
    former = plan.journal.ledger.gateway
    if former is not None:
        await end(ProcessId(**former), deadline_s=1)


async def _clear_machine(plan: Plan) -> None:
    """Take away what the machine left: processes nobody recorded, then mounts, loops and the cgroup."""
    link = plan.machine_spec.link
    await end_occupants([path for path in (link.netns, link.guest_netns) if path is not None])
    await plan.driver.release(plan.machine_spec)
    plan.journal.record("machine.gone", must_write=False)


async def while_alive(machine: Machine, work: Coroutine[Any, Any, T]) -> T:
    """`work`'s result; LaunchError as soon as the machine ends before it is done."""
    doing, ending = asyncio.ensure_future(work), asyncio.ensure_future(machine.wait())
    try:
        await asyncio.wait((doing, ending), return_when=asyncio.FIRST_COMPLETED)
        if doing.done() and isinstance(doing.exception(), UnavailableError):
            # A guest that falls silent is often a machine that is just ending: the better reason.
            await asyncio.wait([ending], timeout=LAST_WORDS_S)
        if ending.done() and not (doing.done() and doing.exception() is None):
            raise LaunchError(
                f"the machine ended while it was starting: {ending.result().detail}",
                hint="console.log in the desktop's directory shows its last words",
                code="machine_exited",
            )
        return doing.result()
    finally:
        for task in (doing, ending):
            task.cancel()
        await asyncio.gather(doing, ending, return_exceptions=True)


def _later(close: Callable[[], None]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def run() -> None:
        close()

    return run
