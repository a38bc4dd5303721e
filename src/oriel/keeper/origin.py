"""Where a start begins instead of a boot: at a template, or at a moment of the desktop's own.

A moment of its own is used once. Its memory belongs to the disk as it was then; as soon as the guest runs the
disk goes on without it. So just before it runs the moment is moved into the machine's own directory, where a
start never looks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from oriel.host.disk import copy_disk
from oriel.host.layout import DesktopPaths
from oriel.host.threads import in_thread
from oriel.keeper.moments import copy_moment, erase
from oriel.machine.driver import Halting, Machine, MachineSpec, Moment, Restoring
from oriel.model.errors import HostError

__all__ = ["Origin", "return_to", "unspend"]


@dataclass(frozen=True)
class Origin:
    """`own`: a moment that belongs to the desktop's own disk; else a template, whose disk is copied."""

    driver: Restoring
    moment: Moment
    own: bool

    @property
    def name(self) -> str:
        return self.moment.directory.name

    async def prepare_disk(self, disk: Path) -> None:
        """Raises HostError if the disk that belongs to the moment is missing; NoSpaceError, LaunchError."""
        if not self.own:
            await copy_disk(self.moment.disk, disk)
        elif not await in_thread(disk.exists):
            raise HostError(f"{disk} is missing", hint="restore the home directory from a backup")

    async def restore(self, spec: MachineSpec) -> Machine:
        return await self.driver.restore(spec, self.moment)

    async def go_on(self, machine: Machine) -> None:
        """The moment is spent, and the guest runs."""
        assert isinstance(machine, Halting)  # noqa: S101 - a driver that restores makes such machines
        if self.own:
            directory = self.moment.directory
            await in_thread(lambda: _move(directory, _spent(directory.parent / "machine")))
        await machine.go_on()
        if self.own:
            await in_thread(lambda: erase(_spent(self.moment.directory.parent / "machine")))


async def return_to(paths: DesktopPaths, snapshot: str) -> None:
    """Make disk and next beginning of a desktop that does not run those of a snapshot. May be done again."""
    source = paths.snapshot(snapshot)
    await copy_moment(source, paths.paused, disk=Moment(source).disk, copy=paths.disk_image)


async def unspend(paths: DesktopPaths, machine: Machine | None) -> None:
    """After a keeper was killed: give back a moment that was taken for a machine that has not run."""
    moved = _spent(paths.machine)
    if machine is None or not await in_thread(moved.exists):
        return
    if isinstance(machine, Halting) and await machine.halted():
        await in_thread(lambda: _move(moved, paths.paused))


def _spent(machine: Path) -> Path:
    """Where the moment is that a machine went on from, or is about to."""
    return machine / "moment"


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    for directory in (source.parent, target.parent):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
