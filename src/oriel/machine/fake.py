"""Drivers for tests, named for how they fail. Their machines are real, small processes.

So adopting, waiting and killing are the real thing; only the guest is missing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from typing import Any

from oriel.host import process
from oriel.machine.driver import Exit, MachineSpec
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import LaunchError
from oriel.model.spec import Isolation, Runtime

__all__ = ["DyingDriver", "FailingDriver", "FakeMachine", "NeverReadyDriver", "SlowDriver", "StubbornDriver"]

# Prints its word once its signal handlers stand, then waits for a signal.
PROGRAM = """
import signal, sys, time
ignored, lifetime = sys.argv[1] == "ignore", float(sys.argv[2])
signal.signal(signal.SIGTERM, signal.SIG_IGN if ignored else lambda *_: sys.exit(0))
print("fake machine up", flush=True)
if lifetime < 0:
    signal.pause()
time.sleep(lifetime)
sys.exit(7)
"""
FOREVER = -1.0


class FakeMachine:
    """A process of this host in the place of a machine."""

    isolation = Isolation.CONTAINER

    def __init__(self, tracked: TrackedProcess) -> None:
        self._tracked = tracked

    @property
    def record(self) -> Mapping[str, Any]:
        return self._tracked.record

    async def wait(self) -> Exit:
        return await self._tracked.wait()

    async def stop(self, *, deadline_s: float) -> Exit:
        await process.end(self._tracked.identity, deadline_s=deadline_s)
        return await self.wait()

    async def kill(self) -> Exit:
        self._tracked.identity.signal(signal.SIGKILL)
        return await self.wait()


class NeverReadyDriver:
    """Its machine runs, but the guest in it never says a word."""

    runtime = Runtime.CONTAINER
    ignores_term = False
    lifetime_s = FOREVER

    async def prepare_disk(self, spec: MachineSpec) -> None:
        with await asyncio.to_thread(spec.disk.open, "ab") as disk:
            os.truncate(disk.fileno(), spec.disk_gib << 30)

    async def start(self, spec: MachineSpec) -> FakeMachine:
        await self.release(spec)
        await asyncio.to_thread(spec.directory.mkdir, parents=True)
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM, self._on_term(), str(self.lifetime_s)]
        child = process.spawn(argv, log=spec.console)
        return FakeMachine(TrackedProcess.of_child(child, explain=_explain))

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> FakeMachine | None:  # noqa: ARG002
        identity = TrackedProcess.identity_in(record)
        return None if identity is None else FakeMachine(TrackedProcess(identity, explain=_explain))

    async def release(self, spec: MachineSpec) -> None:
        await asyncio.to_thread(shutil.rmtree, spec.directory, ignore_errors=True)

    def _on_term(self) -> str:
        return "ignore" if self.ignores_term else "end"


class SlowDriver(NeverReadyDriver):
    """Its machine takes `delay_s` to start: for deadlines and cancellation."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    async def start(self, spec: MachineSpec) -> FakeMachine:
        await asyncio.sleep(self._delay_s)
        return await super().start(spec)


class FailingDriver(NeverReadyDriver):
    """Its machine's program fails at once."""

    async def start(self, spec: MachineSpec) -> FakeMachine:
        argv = [sys.executable, "-I", "-S", "-c", "raise SystemExit('no such machine')"]
        code = await asyncio.to_thread(process.spawn(argv, log=spec.console).wait)
        said = process.tail(spec.console)
        raise LaunchError(f"exit code {code}: {process.paste(argv)}\n{said}")


class DyingDriver(NeverReadyDriver):
    """Its machine ends by itself, with exit code 7, `lifetime_s` after it began."""

    def __init__(self, lifetime_s: float = 0.2) -> None:
        self.lifetime_s = lifetime_s


class StubbornDriver(NeverReadyDriver):
    """Its machine does not listen to TERM: only KILL ends it."""

    ignores_term = True


def _explain(code: int | None) -> str:
    return "the fake machine has ended" if code is None else f"the fake machine ended with {code}"
