"""One desktop: its state, and the verbs that change it. One verb at a time; each checks the state first."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Coroutine
from typing import Any

from oriel.host.process import tail
from oriel.host.threads import in_thread
from oriel.keeper.assembly import Assembly, Plan, Steps, personalise, wake
from oriel.keeper.beginning import begin, make_template, warm
from oriel.keeper.ending import shut_down
from oriel.keeper.gateway import Gateway, counters_of
from oriel.keeper.guest import Guest
from oriel.keeper.moments import erase
from oriel.keeper.require import require
from oriel.keeper.undo import Problem, UndoStack
from oriel.machine.console import readable
from oriel.machine.driver import Counting, Exit, Halting
from oriel.model.egress import EgressSpec
from oriel.model.errors import LaunchError, OrielError, StateError
from oriel.model.state import State, check_transition

__all__ = ["Desktop", "outcome_of", "unexpected"]

CONSOLE_BYTES, CONSOLE_LINES = 4000, 20  # of the console's end, in the error of a failed desktop
_LOG = logging.getLogger(__name__)
_S = State


class Desktop:
    """The state machine over an `Assembly`. Work goes on when the caller who asked for it goes away."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.egress = EgressSpec()
        self.gone = asyncio.Event()  # deleted: the keeper may exit
        self._journal = plan.journal
        self.undo = UndoStack()
        self.assembly: Assembly | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[OrielError | None] | None = None
        self._deleting: asyncio.Task[OrielError | None] | None = None
        # Held while things are made or taken away, so that a start waits for the clean-up before it.
        self.building = asyncio.Lock()

    @property
    def state(self) -> State:
        return self._journal.ledger.state

    @property
    def guest(self) -> Guest:
        """StateError unless there is a guest to talk to."""
        if self.assembly is None:
            raise StateError(
                f"the desktop is {self.state}: nothing answers in it", hint="start it first (`oriel start`)"
            )
        return self.assembly.guest

    @property
    def gateway(self) -> Gateway:
        """StateError unless there is one."""
        if self.assembly is None:
            raise StateError(f"the desktop is {self.state}: it has no gateway", hint="start it first")
        return self.assembly.gateway

    @require(_S.CREATING, _S.STOPPED, _S.FAILED)
    async def start(self, deadline_s: float) -> dict[str, float]:
        """Bring it up; its timings in seconds once both windows are painted.

        On failure everything started has been stopped and the state is `failed`; the error is raised.
        """
        self.become(_S.STARTING)
        self._starting = self.plan.group.create_task(self._start(deadline_s), name="start")
        await outcome_of(self._starting)
        return dict(self._journal.ledger.timings)

    @require(_S.PAUSED)
    async def resume(self, deadline_s: float) -> dict[str, float]:
        """Let it go on where it stood; its timings in seconds. On failure it is `paused` still, unless its
        memory is spent: then `failed`, and to be started from its disk.
        """
        self.become(_S.RESUMING)
        self._starting = self.plan.group.create_task(self._start(deadline_s), name="resume")
        await outcome_of(self._starting)
        return dict(self._journal.ledger.timings)

    @require(_S.CREATING)
    async def warm(self, deadline_s: float) -> dict[str, float]:
        """Bring up a machine that waits for a name; `start` goes on from there. On failure nothing runs."""
        await self._beforehand("warm", self._warm, deadline_s)
        return dict(self._journal.ledger.timings)

    @require(_S.CREATING)
    async def make_template(self, deadline_s: float, settle_s: float) -> dict[str, Any]:
        """Boot, and keep the settled desktop as the template of its kind; nothing runs afterwards."""
        kept: dict[str, Any] = {}

        async def make(steps: Steps) -> None:
            made = await make_template(self.plan, steps, self.undo, settle_s=settle_s)
            kept.update(template=made.name, bytes=made.bytes_own)
            await self.undo.unwind()

        await self._beforehand("template", make, deadline_s)
        return kept

    @property
    def is_warm(self) -> bool:
        return self.state is _S.CREATING and self.assembly is not None

    @require(_S.STARTING, _S.RUNNING, _S.PAUSED, _S.FAILED)
    async def stop(self, deadline_s: float) -> None:
        """Shut it down, by its own agent first; a start under way is given up. The disk stays.

        Raises LaunchError if something could not be taken away; the state is `failed` then.
        """
        self.become(_S.STOPPING)
        await outcome_of(self.plan.group.create_task(self._stop(deadline_s), name="stop"))

    async def delete(self) -> None:
        """Take everything away, whatever the state; a start or stop under way is cut short or awaited.

        Afterwards only spec, journal and log are left in the directory. Raises LaunchError if something
        could not be taken away; the state is `failed` then.
        """
        if self._deleting is None or (self._deleting.done() and self.state is not _S.DELETING):
            self.become(_S.DELETING)
            self._deleting = self.plan.group.create_task(self._delete(), name="delete")
        await outcome_of(self._deleting)

    async def configure_egress(self, spec: EgressSpec) -> None:
        """Kept in memory for every later start, and in force at once where a gateway runs."""
        if self.assembly is not None:
            await self.assembly.gateway.configure(spec)
        self.egress = spec

    async def inspect(self) -> dict[str, Any]:
        """The desktop as it is now; see docs/internals.md."""
        ledger, assembly = self._journal.ledger, self.assembly
        about: dict[str, Any] = {
            "id": self.plan.spec.id, "spec": self.plan.spec.to_json(), "state": str(self.state),
            "seq": ledger.seq, "timings": dict(ledger.timings),
            "egress": {"mode": str(self.egress.mode), "proxy": self.egress.proxy}
            | await counters_of(assembly.gateway if assembly else None, self.plan.paths.egress_counters),
        }  # fmt: skip
        if ledger.error is not None:
            about["error"] = ledger.error
        if assembly is not None:
            about["machine"] = {
                "pid": assembly.machine.record.get("pid"), "runtime": str(self.plan.spec.runtime),
                "isolation": str(assembly.machine.isolation),
            }  # fmt: skip
            if isinstance(assembly.machine, Counting):
                about["machine"]["counted"] = dict(assembly.machine.counted)
        return about

    async def leave(self) -> None:
        """Before the keeper exits: give up a start under way; a running machine stays for the next keeper."""
        if self.state is _S.RESUMING and self._starting is not None:
            await asyncio.wait([self._starting])  # given up, it could cost the memory
        await self._settle()
        if self.is_warm:
            await self.undo.unwind()
        elif self.assembly is not None:
            await self.assembly.gateway.close()

    # --- the work behind the verbs; each returns the error instead of raising it into the task group

    async def _start(self, deadline_s: float) -> OrielError | None:
        async def start(steps: Steps) -> None:
            assembly, self.assembly = self.assembly, None
            resuming = self.state is _S.RESUMING
            if assembly is None:
                assembly = await begin(self.plan, self.egress, steps, self.undo, resuming=resuming)
            else:
                await self._go_on(assembly, steps, resuming=resuming)
            if self.egress is not assembly.gateway.spec:
                await assembly.gateway.configure(self.egress)
            self.assembly = assembly
            told = "resumed" if resuming else "total"
            self.become(_S.RUNNING, **{told: steps.elapsed_s})
            assembly.runs()
            self.look_after(assembly)

        return await self._attempt(start, deadline_s)

    async def _go_on(self, assembly: Assembly, steps: Steps, *, resuming: bool) -> None:
        """What stands still in memory goes on: frozen, it knows who it is; warm, it is told."""
        if isinstance(assembly.machine, Halting):
            await assembly.machine.go_on()
        if resuming:
            await wake(assembly, steps)
        else:
            await personalise(self.plan, assembly, steps)

    async def _warm(self, steps: Steps) -> None:
        self.assembly = await warm(self.plan, steps, self.undo)
        self.look_after(self.assembly)

    async def _beforehand(
        self, name: str, work: Callable[[Steps], Coroutine[Any, Any, None]], deadline_s: float
    ) -> None:
        self._starting = self.plan.group.create_task(self._attempt(work, deadline_s), name=name)
        await outcome_of(self._starting)

    async def _attempt(
        self, work: Callable[[Steps], Coroutine[Any, Any, None]], deadline_s: float
    ) -> OrielError | None:
        """Do `work` within its deadline, or take away whatever it has made, and say why."""
        steps = Steps(self._journal, deadline_s)
        async with self.building:
            try:
                async with asyncio.timeout(deadline_s):
                    await work(steps)
                return None
            except asyncio.CancelledError:
                error: OrielError = _given_up()
            except TimeoutError:
                error = steps.late()
            except OrielError as failure:
                error = failure
            except Exception as failure:
                _LOG.exception("%s failed", steps.current)
                error = unexpected(f"the step {steps.current!r}", failure)
            console = self.console_tail()
            self.assembly = None
            problems = await self.undo.unwind()
            if self.state is _S.RESUMING and self.plan.paths.paused.exists():
                self.become(_S.PAUSED, message=error.message)
            elif self.state in (_S.STARTING, _S.RESUMING):
                self.fail(error, console=console, problems=problems)
            elif self.state is _S.CREATING:
                await asyncio.to_thread(self.plan.paths.disk_image.unlink, missing_ok=True)
            return error

    def look_after(self, assembly: Assembly) -> None:
        self._watch = self.plan.group.create_task(self._watch_machine(assembly), name="watch")

    async def _stop(self, deadline_s: float) -> OrielError | None:
        began = time.monotonic()
        await self._settle()
        async with self.building:
            if self.assembly is None and self.plan.paths.paused.exists():
                await self._wake_to_stop(deadline_s)
            if self.assembly is not None:
                if isinstance(self.assembly.machine, Halting):
                    await self.assembly.machine.go_on()  # it may be frozen
                await shut_down(self.plan.journal, self.assembly, deadline_s)
            self.assembly = None
            problems = await self.undo.unwind()
            if problems:
                error = _unclean(problems)
                if self.state is _S.STOPPING:
                    self.fail(error)
                return error
            if self.state is _S.STOPPING:
                self.become(_S.STOPPED, seconds=round(time.monotonic() - began, 3))
            return None

    async def _delete(self) -> OrielError | None:
        await self._settle()
        async with self.building:
            self.assembly = None
            return await self.finish_delete(await self.undo.unwind())

    async def _wake_to_stop(self, deadline_s: float) -> None:
        """A paused desktop may hold what it has not written yet: let it go on, and end in its own way."""
        steps = Steps(self._journal, deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                self.assembly = await begin(self.plan, self.egress, steps, self.undo, resuming=True)
        except (OrielError, TimeoutError) as error:
            self._journal.record("memory.unusable", f"{error}: what it had not written is lost")
            await in_thread(lambda: erase(self.plan.paths.paused))

    async def _watch_machine(self, assembly: Assembly) -> None:
        ended = await assembly.machine.wait()
        if self.state is _S.PAUSING:
            async with self.building:  # a pause that fails would leave it running, without its machine
                pass
        if self.state is _S.CREATING:
            async with self.building:  # a warm one: its next start begins anew
                self.assembly = None
                await self.undo.unwind()
                await asyncio.to_thread(self.plan.paths.disk_image.unlink, missing_ok=True)
            return
        if self.assembly is not assembly or self.state not in (_S.RUNNING, _S.PAUSED):
            return
        self._journal.record("machine.exited", ended.detail, must_write=False, code=ended.code, asked=False)
        self.fail(_machine_ended(ended), console=self.console_tail())
        async with self.building:
            self.assembly = None
            for problem in await self.undo.unwind():
                self._journal.record("undo.failed", problem.detail, must_write=False, step=problem.step)

    async def _settle(self) -> None:
        """End what else is under way: a start is undone, the watch over the machine ends."""
        for task in (self._starting, self._watch):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def finish_delete(self, problems: list[Problem]) -> OrielError | None:
        """The files last: while something could still be left, the journal must be able to tell."""
        if problems:
            error = _unclean(problems)
            self.fail(error)
            return error
        paths = self.plan.paths
        for directory in (paths.machine, paths.disk_mount, paths.root_mount, paths.paused, paths.snapshots):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        for file in (paths.disk_image, paths.console_log):
            file.unlink(missing_ok=True)
        self._journal.record("desktop.gone")
        self.gone.set()
        return None

    # --- the one writer of the state

    def become(self, state: State, **data: Any) -> None:
        check_transition(self.state, state)
        self._journal.record(f"state.{state}", **data)

    def fail(self, error: OrielError, *, console: str = "", problems: list[Problem] | None = None) -> None:
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        if console:
            told["console"] = console
        check_transition(self.state, _S.FAILED)
        undone = [f"{item.step}: {item.detail}" for item in problems or []]
        # A failure is a fact, whether or not the disk has room for the news.
        self._journal.record("state.failed", must_write=False, error=told, problems=undone)

    def console_tail(self) -> str:
        text = readable(tail(self.plan.paths.console_log, CONSOLE_BYTES))
        return "\n".join(text.splitlines()[-CONSOLE_LINES:])


async def outcome_of(work: asyncio.Task[OrielError | None]) -> None:
    """Wait for `work`, which goes on if we are cancelled, and raise what it ended with."""
    await asyncio.wait([work])
    if work.cancelled():
        raise _given_up()
    if (error := work.result()) is not None:
        raise error


def _given_up() -> OrielError:
    return StateError("the start was given up", hint="the desktop was stopped or deleted meanwhile")


def unexpected(what: str, failure: Exception) -> OrielError:
    return LaunchError(
        f"{what} failed unexpectedly: {failure!r}",
        hint="keeper.log in the desktop's directory has the details",
        code="internal",
    )


def _machine_ended(ended: Exit) -> OrielError:
    return LaunchError(
        f"the machine ended by itself: {ended.detail}",
        hint="start it again; console.log in its directory shows its last words",
        code="machine_exited",
    )


def _unclean(problems: list[Problem]) -> OrielError:
    return LaunchError(
        "not everything could be taken away: "
        + "; ".join(f"{item.step}: {item.detail}" for item in problems),
        hint="try again; keeper.log in the desktop's directory has the details",
        code="unclean",
    )
