"""A driver whose machine can be halted, saved and restored: a process that is stopped and started again, and
a token that stands for its memory.

Where a file `hold.WORK` is in the desktop's directory, that work says so by `at.WORK` and waits until the
file has gone: so a test kills the keeper in the midst of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.host.process import ProcessId, in_netns, spawn
from oriel.machine.driver import Exit, Machine, MachineSpec, Moment
from oriel.model.errors import HostError
from oriel.model.spec import Isolation
from tests.integration.fakes.driver import GUEST, ROOT, FakeDriver, FakeMachine

TOKEN = "token"


async def pass_by(spec: MachineSpec, work: str) -> None:
    directory = spec.directory.parent
    if (directory / f"hold.{work}").exists():
        (directory / f"at.{work}").touch()
        while (directory / f"hold.{work}").exists():
            await asyncio.sleep(0.01)


@dataclass
class KeepingMachine(FakeMachine):
    isolation: Isolation = Isolation.CONTAINER
    spec: MachineSpec | None = None

    @property
    def _place(self) -> MachineSpec:
        assert self.spec is not None
        return self.spec

    async def halt(self) -> None:
        self.process.signal(signal.SIGSTOP)
        while not await self.halted():
            await asyncio.sleep(0.001)

    async def go_on(self) -> None:
        await pass_by(self._place, "before-going-on")
        self.process.signal(signal.SIGCONT)
        await pass_by(self._place, "after-going-on")

    async def halted(self) -> bool:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    async def kill(self) -> Exit:
        await pass_by(self._place, "kill")
        return await super().kill()

    async def save(self, moment: Moment) -> None:
        assert await self.halted()
        moment.devices.write_text((self._place.directory / TOKEN).read_text())
        await pass_by(self._place, "save")
        if not self.process.alive:
            raise HostError("the machine has ended")
        moment.memory.write_bytes(b"")
        os.truncate(moment.memory, self._place.memory_mib << 20)
        moment.pages.write_bytes(b"")


class KeepingDriver(FakeDriver):
    async def engine(self, spec: MachineSpec) -> str:
        return "a process that remembers"

    async def start(self, spec: MachineSpec) -> Machine:
        return await self._launch(spec, spec.image.root.parent.name.partition("@")[0], secrets.token_hex(8))

    async def restore(self, spec: MachineSpec, moment: Moment) -> Machine:
        await pass_by(spec, "restore")
        machine = await self._launch(spec, "restored", moment.devices.read_text())
        while not (spec.directory / "up").exists():
            await asyncio.sleep(0.01)
        await machine.halt()
        return machine

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> Machine | None:
        process = ProcessId(record["pid"], record["started"])
        return KeepingMachine(process, spec=spec) if process.alive else None

    async def _launch(self, spec: MachineSpec, behaviour: str, token: str) -> KeepingMachine:
        spec.directory.mkdir(exist_ok=True)
        (spec.directory / TOKEN).write_text(token)
        assert spec.link.guest_netns is not None
        child = spawn(
            in_netns(spec.link.guest_netns, [*GUEST, behaviour, spec.directory]),
            log=spec.console, env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )  # fmt: skip
        process = ProcessId.of(child.pid)
        assert process is not None
        return KeepingMachine(process, child, spec=spec)
