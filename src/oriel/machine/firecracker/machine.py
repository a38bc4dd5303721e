"""A running Firecracker: ending it, halting it, keeping what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oriel.host.cgroups import Cgroup
from oriel.host.threads import in_thread
from oriel.machine.driver import Exit, Moment
from oriel.machine.firecracker import calls
from oriel.machine.firecracker.calls import Call
from oriel.machine.firecracker.client import ask
from oriel.machine.firecracker.command import SOCKET
from oriel.machine.firecracker.jail import Jail
from oriel.machine.firecracker.memory import Block, save_own
from oriel.machine.firecracker.metrics import Metrics
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import NoSpaceError, OrielError, UnavailableError
from oriel.model.spec import Isolation

__all__ = ["API_DEADLINE_S", "LOAD_DEADLINE_S", "FirecrackerMachine"]

API_DEADLINE_S = 30
LOAD_DEADLINE_S = 60
SAVE_DEADLINE_S = 600  # writes the whole memory
RUNG_DEADLINE_S = 2  # for each rung after the guest had its chance
READABLE = 0o444  # by the uid of any desktop that is restored from it; its directory is for root alone


class FirecrackerMachine:
    """A microVM. `memory`: where it has mapped `base`, the memory of the moment it began at, if it did."""

    isolation = Isolation.VM

    def __init__(
        self, tracked: TrackedProcess, cgroup: Cgroup, jail: Jail, metrics: Metrics, *, base: Path,
        memory: Sequence[Block] = (),
    ) -> None:  # fmt: skip
        self._tracked = tracked
        self._cgroup = cgroup
        self._jail = jail
        self._metrics = metrics
        self._base = base
        self._memory = memory

    @property
    def record(self) -> Mapping[str, Any]:
        return self._tracked.record | {"memory": [list(block) for block in self._memory]}

    async def wait(self) -> Exit:
        return await self._tracked.wait()

    async def stop(self, *, deadline_s: float) -> Exit:
        """Ctrl-Alt-Del in the guest, and after `deadline_s` TERM and KILL. systemd then restarts, which here
        ends the machine."""
        if await self._listens(calls.control_alt_delete()) and (ended := await self._ended(deadline_s)):
            return ended
        if self._tracked.identity.signal(signal.SIGTERM) and (ended := await self._ended(RUNG_DEADLINE_S)):
            return ended
        return await self.kill()

    async def kill(self) -> Exit:
        await self._cgroup.kill()
        return await self.wait()

    async def halt(self) -> None:
        await self._ask(calls.halt())

    async def go_on(self) -> None:
        await self._ask(calls.proceed())

    async def halted(self) -> bool:
        return bool((await self._ask(calls.instance()))["state"] == "Paused")

    async def save(self, moment: Moment) -> None:
        new_memory, new_devices = map(self._jail.path, (calls.NEW_MEMORY, calls.NEW_DEVICES))
        try:
            await self._ask(calls.save(), deadline_s=SAVE_DEADLINE_S)
            await in_thread(lambda: _keep(new_devices, moment.devices))
            if self._memory:
                os.link(self._base, moment.base)
                await in_thread(lambda: save_own(self._tracked.identity.pid, self._memory, moment))
            else:
                await in_thread(lambda: _keep(new_memory, moment.memory))
        except OSError as error:
            raise NoSpaceError(f"the moment cannot be kept: {error.strerror}") from error
        finally:
            for file in (new_memory, new_devices):
                file.unlink(missing_ok=True)

    @property
    def counted(self) -> Mapping[str, int]:
        return self._metrics.totals.counted

    async def count(self, *, deadline_s: float) -> Mapping[str, int]:
        with contextlib.suppress(OrielError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                telling = asyncio.ensure_future(self._metrics.next())
                try:
                    await self._ask(calls.flush_metrics())
                    await telling
                finally:
                    telling.cancel()
        return self.counted

    async def _ask(self, call: Call, *, deadline_s: float = API_DEADLINE_S) -> Any:
        return await ask(self._jail.root, SOCKET, call, deadline_s=deadline_s)

    async def _listens(self, call: Call) -> bool:
        try:
            await self._ask(call, deadline_s=RUNG_DEADLINE_S)
        except UnavailableError:
            return not self._tracked.identity.alive  # it may have ended before it could answer
        except OrielError:
            return False
        return True

    async def _ended(self, deadline_s: float) -> Exit | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                return await self.wait()
        return None


def _keep(file: Path, kept: Path) -> None:
    """Move what Firecracker wrote out of its jail, as root's and unchangeable, and onto the disk.

    Moved first: where only root may write nobody can put another file in its place.
    """
    shutil.move(file, kept)
    fd = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, 0, 0)
        os.fchmod(fd, READABLE)
        os.fsync(fd)
    finally:
        os.close(fd)
    directory = os.open(kept.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
