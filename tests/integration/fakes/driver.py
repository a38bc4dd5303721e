"""A driver whose machine is one process in the desktop's own namespace. The image's name is its behaviour."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.host.process import ProcessId, end, in_netns, spawn, wait_gone
from oriel.machine.driver import Exit, Machine, MachineSpec
from oriel.model.errors import LaunchError
from oriel.model.spec import Isolation, Runtime

ROOT = Path(__file__).resolve().parents[3]
GUEST = (sys.executable, "-m", "tests.integration.fakes.guest")


@dataclass
class FakeMachine:
    process: ProcessId
    child: subprocess.Popen[bytes] | None = None
    isolation: Isolation = Isolation.CONTAINER
    _reaped: dict[str, int] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        return {"pid": self.process.pid, "started": self.process.started}

    async def wait(self) -> Exit:
        await wait_gone(self.process)
        code = self.child.wait() if self.child else None
        return Exit(code, f"fake machine ended with code {code}")

    async def stop(self, *, deadline_s: float) -> Exit:
        await end(self.process, deadline_s=deadline_s)
        return await self.wait()

    async def kill(self) -> Exit:
        await end(self.process, deadline_s=5, first=signal.SIGKILL)
        return await self.wait()


class FakeDriver:
    runtime = Runtime.CONTAINER

    async def prepare_disk(self, spec: MachineSpec) -> None:
        if not spec.disk.exists():
            spec.disk.write_bytes(b"")
            os.truncate(spec.disk, 1 << 20)

    async def start(self, spec: MachineSpec) -> Machine:
        behaviour = spec.image.root.parent.name.partition("@")[0]
        if behaviour == "unstartable":
            raise LaunchError(
                "exit code 1: fake-machine --boot\nno such firmware", hint="get better firmware"
            )
        spec.directory.mkdir(exist_ok=True)
        assert spec.link.guest_netns is not None
        child = spawn(
            in_netns(spec.link.guest_netns, [*GUEST, behaviour, spec.directory]),
            log=spec.console,
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )
        process = ProcessId.of(child.pid)
        assert process is not None
        return FakeMachine(process, child)

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> Machine | None:
        process = ProcessId(record["pid"], record["started"])
        return FakeMachine(process) if process.alive else None

    async def release(self, spec: MachineSpec) -> None:
        shutil.rmtree(spec.directory, ignore_errors=True)
