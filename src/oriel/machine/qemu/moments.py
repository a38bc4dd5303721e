"""A QEMU machine's memory and devices, in the files of a moment and back.

QEMU's own migration would write all of the memory into one stream, and read it again: a second for each
restore, and nothing shared between machines. So the memory is taken and given from outside, while the machine
stands: of one that began from a template only the pages that differ from it. QEMU writes the devices alone
(by a command named after Xen, which divides the work in the same way), and reads them as a migration without
memory.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from oriel.host.memory import Region, Runs
from oriel.host.threads import in_thread
from oriel.machine.driver import Moment
from oriel.machine.qemu import monitor
from oriel.model.errors import HostError, LaunchError

__all__ = ["Standing", "restore_moment", "save_moment"]

DEADLINE_S = 60
GUEST_MEMORY = re.compile(r"is (0x[0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A halted QEMU: its process, its monitor, its user, and how much memory its guest has."""

    pid: int
    socket: Path
    uid: int
    memory_mib: int

    async def memory(self) -> Region:
        """Where QEMU has the guest's memory. The guest's first byte is the first of that one block."""
        asked = {"command-line": "gpa2hva 0"}
        said = await monitor.command(self.socket, "human-monitor-command", deadline_s=DEADLINE_S, **asked)
        found = GUEST_MEMORY.search(str(said))
        if found is None:
            raise HostError(f"QEMU does not tell where the guest's memory is: {said!r}")
        return Region(self.pid, int(found.group(1), 16), self.memory_mib << 20)


async def save_moment(moment: Moment, machine: Standing) -> None:
    """Write memory and devices. The moment's `base`, if it has one, is in its directory already."""
    region = await machine.memory()
    skip_zero = not await in_thread(moment.base.exists)
    await in_thread(lambda: _save_memory(moment, region, skip_zero=skip_zero))
    fd = os.open(moment.directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Nameless, and only copied into the moment: nothing of that is ever QEMU's user's to change.
        os.fchown(fd, machine.uid, machine.uid)
        await monitor.save_devices(machine.socket, fd, deadline_s=DEADLINE_S)
        await in_thread(lambda: _write(moment.devices, os.pread(fd, os.fstat(fd).st_size, 0)))
    finally:
        os.close(fd)


async def restore_moment(moment: Moment, machine: Standing, base_fd: int | None) -> None:
    """Put a moment into a QEMU that has not run yet. `base_fd`: QEMU's, of what it is to map."""
    if base_fd is None:
        raise HostError("the machine was started without the memory it is to go on from")
    region = await machine.memory()
    await in_thread(lambda: _load_memory(moment, region, base_fd))
    with moment.devices.open("rb") as devices:
        await monitor.load_devices(machine.socket, devices.fileno(), deadline_s=DEADLINE_S)


def _save_memory(moment: Moment, region: Region, *, skip_zero: bool) -> None:
    target = os.open(moment.memory, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        kept = region.save(region.own(), target, skip_zero=skip_zero)
        os.fsync(target)
    finally:
        os.close(target)
    _write(moment.pages, kept.to_bytes())


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _load_memory(moment: Moment, region: Region, base: int) -> None:
    region.map_privately(base)
    if not moment.base.exists():
        return
    try:
        runs = Runs.from_bytes(moment.pages.read_bytes())
    except ValueError as error:
        raise LaunchError(f"{moment.pages} is damaged: {error}") from error
    with moment.memory.open("rb") as memory:
        region.load(runs, memory.fileno())
