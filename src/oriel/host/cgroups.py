"""A control group per machine: what it may use, who belongs to it, and ending all of them at once.

Hosts differ: version 2 alone (systemd's default), or version 1 controllers beside a version 2 tree.
Membership and killing always go by version 2; a limit goes to whichever tree has its controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.host.mounts import read_mounts
from oriel.model.errors import HostError

__all__ = ["PARENT", "Cgroup", "Limits"]

PARENT = "oriel"
CPU_PERIOD_US = 100_000
REMOVE_DEADLINE_S = 10.0
CONTROLLERS = ("memory", "cpu", "pids")
# systemd-nspawn keeps its own tree here on hosts where version 1 controllers are mounted.
NAMED_V1 = "name=systemd"
ENTER = Path(__file__).with_name("enter.py")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a machine may use. `cpus` is in whole processors; `processes` counts threads.

    Without `swap` none of its memory is ever written to the host's swap, where the host can tell.
    """

    memory_mib: int
    cpus: float
    processes: int
    swap: bool = True


@dataclass(frozen=True)
class _Trees:
    unified: Path
    controllers: dict[str, Path]  # version 1: controller -> mount point

    @staticmethod
    def find() -> _Trees:
        unified, controllers = None, {}
        for item in read_mounts():
            if item.root != "/":
                continue
            if item.kind == "cgroup2":
                unified = unified or item.target
            elif item.kind == "cgroup":
                for name in item.target.name.split(","):
                    controllers[NAMED_V1 if name == "systemd" else name] = item.target
        if unified is None:
            raise HostError(
                "no cgroup version 2 tree is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup/unified"
            )
        return _Trees(unified, controllers)


class Cgroup:
    """The control group of one machine, `oriel/NAME` in every tree of this host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._trees = _Trees.find()
        self._unified = self._trees.unified / PARENT / name

    @property
    def directories(self) -> list[Path]:
        """Where it is, or would be, in each tree."""
        wanted = {
            self._trees.controllers[key] for key in (*CONTROLLERS, NAMED_V1) if key in self._trees.controllers
        }
        return [self._unified, *sorted(tree / PARENT / self.name for tree in wanted)]

    @property
    def exists(self) -> bool:
        return any(directory.is_dir() for directory in self.directories)

    def create(self, limits: Limits) -> None:
        """Make it with these limits. Raises HostError naming the controller the host lacks."""
        try:
            for directory in self.directories:
                directory.mkdir(parents=True, exist_ok=True)
            self._delegate()
            self._limit(limits)
        except OSError as error:
            raise HostError(
                f"the control group {self.name} cannot be set up: {error.strerror} ({error.filename})",
                hint="be root, with the memory, cpu and pids controllers available (cgroups(7))",
            ) from error

    def _delegate(self) -> None:
        """Version 2 gives a controller only to children of a group that hands it on."""
        for group in (self._trees.unified, self._trees.unified / PARENT):
            available = (group / "cgroup.controllers").read_text().split()
            enabled = (group / "cgroup.subtree_control").read_text().split()
            for controller in CONTROLLERS:
                if controller in available and controller not in enabled:
                    (group / "cgroup.subtree_control").write_text(f"+{controller}")

    def _limit(self, limits: Limits) -> None:
        quota = int(limits.cpus * CPU_PERIOD_US)
        memory = str(limits.memory_mib << 20)
        self._write("memory", {"memory.limit_in_bytes": memory}, {"memory.max": memory})
        self._write(
            "cpu",
            {"cpu.cfs_period_us": str(CPU_PERIOD_US), "cpu.cfs_quota_us": str(quota)},
            {"cpu.max": f"{quota} {CPU_PERIOD_US}"},
        )
        if not limits.swap:
            # Version 1 counts memory and swap together, and only where the host was started with swapaccount.
            self._write(
                "memory", {"memory.memsw.limit_in_bytes": memory}, {"memory.swap.max": "0"}, optional=True
            )
        self._write("pids", {"pids.max": str(limits.processes)}, {"pids.max": str(limits.processes)})

    def _write(
        self, controller: str, v1: dict[str, str], v2: dict[str, str], *, optional: bool = False
    ) -> None:
        tree = self._trees.controllers.get(controller)
        directory, values = (self._unified, v2) if tree is None else (tree / PARENT / self.name, v1)
        for file, value in values.items():
            if (directory / file).exists() or not optional:
                (directory / file).write_text(value)

    def command(self, argv: Sequence[str | Path]) -> list[str | Path]:
        """`argv`, run as a member from its first instruction on."""
        groups = [directory / "cgroup.procs" for directory in self.directories]
        return [sys.executable, "-I", "-S", ENTER, *groups, "--", *argv]

    def processes(self) -> list[int]:
        """The pids of all members, those in groups below included."""
        found: list[int] = []
        for file in self._unified.rglob("cgroup.procs"):
            with contextlib.suppress(FileNotFoundError, OSError):
                found += map(int, file.read_text().split())
        return found

    async def kill(self, *, deadline_s: float = 10) -> None:
        """KILL every member, however it forks, and wait until none is left. Idempotent.

        Raises HostError if some are still there after `deadline_s` (stuck in the kernel).
        """
        try:
            (self._unified / "cgroup.kill").write_text("1")
            events = os.open(self._unified / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if not await asyncio.to_thread(_wait_until, events, b"populated 0", deadline_s):
                raise HostError(
                    f"processes of {self.name} survived KILL for {deadline_s:g} s: {self.processes()}",
                    hint="they are stuck in the kernel; `cat /proc/PID/stack` says where",
                )
        finally:
            os.close(events)

    async def freeze(self, wanted: bool, *, deadline_s: float = 10) -> None:
        """Let every member stand still, or go on (cgroup-v2.rst, cgroup.freeze). Idempotent.

        Raises HostError if they do not within `deadline_s`, or if the group is gone.
        """
        try:
            (self._unified / "cgroup.freeze").write_text("1" if wanted else "0")
            events = os.open(self._unified / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"{self.name} cannot be frozen or thawed: {error.strerror}") from error
        try:
            told = b"frozen 1" if wanted else b"frozen 0"
            if not await asyncio.to_thread(_wait_until, events, told, deadline_s):
                raise HostError(f"{self.name} was not {told.decode()} within {deadline_s:g} s")
        finally:
            os.close(events)

    def is_frozen(self) -> bool:
        return "frozen 1" in (self._unified / "cgroup.events").read_text()

    async def remove(self) -> None:
        """Kill the members and take the group away in every tree. Idempotent.

        A process whose starter was killed may join while this is under way: it is killed, too.
        Raises HostError if the group is still in use after 10 s.
        """
        end = time.monotonic() + REMOVE_DEADLINE_S
        while True:
            await self.kill()
            try:
                # The tree that counts members goes first: once it is gone, nobody gets into the others.
                for directory in self.directories:
                    await asyncio.to_thread(_remove_tree, directory)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise HostError(
                        f"{self.name} cannot be taken away: {error.strerror} ({error.filename})"
                    ) from error
            await asyncio.sleep(0.01)  # no event tells of version 1 groups


def _wait_until(events: int, line: bytes, deadline_s: float) -> bool:
    """Until cgroup.events says `line`; the kernel signals its changes as POLLPRI."""
    poller = select.poll()
    poller.register(events, select.POLLPRI)
    end = time.monotonic() + deadline_s
    while True:
        # Reading comes before waiting: it is what arms the next signal.
        try:
            if line in os.pread(events, 4096, 0):
                return True
        except OSError as error:
            if error.errno == errno.ENODEV:  # the group itself is gone
                return True
            raise
        left = end - time.monotonic()
        if left <= 0:
            return False
        poller.poll(left * 1000)


def _remove_tree(directory: Path) -> None:
    """rmdir the group and those below it, the deepest first."""
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            Path(path).rmdir()
