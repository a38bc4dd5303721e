"""The contract of every runtime. One folder per implementation; one contract suite over all of them.

A driver is made once per keeper, for one desktop. It promises:

- `start` returns once the VMM or container runs (not: once the desktop is ready), or raises
  LaunchError with the command, exit code and tail of its log and leaves nothing behind.
- The machine outlives the process that started it; `adopt` takes it over from the record in the
  journal, and answers None when that process is gone or is another (recycled pid).
- `Machine.wait` returns by event, not by polling, and any number of tasks may wait.
- `stop` is a ladder (ask the guest, TERM, KILL), each rung by a deadline; after it and after `kill`
  the process is gone. Both may be called again.
- `release` gives back what the machine held on the host besides its process (mounts, loop devices,
  sockets, cgroup); idempotent; also right after a kill -9 of the machine or of the previous keeper.
  The desktop's `disk.img` stays.

Powers a runtime may have besides, each a protocol of its own; `isinstance` tells.

- `Halting` (of a machine): it stands still and goes on, with everything it holds. The guest does not
  notice but for the clock.
- `Saving` (of a machine that can halt) and `Restoring` (of its driver): memory and devices are written
  to a `Moment`, and another machine is made that stands where the first one stood. The same moment can
  be restored any number of times, at once too; its files are never changed while they exist, only
  linked and deleted. The disk is the keeper's to copy: what was written before `halt` returned is in
  `spec.disk`, and `restore` wants `spec.disk` as it was then.
- `Counting` (of a machine): its VMM counts what it does, under names of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from oriel.model.link import Link
from oriel.model.spec import Isolation, Rates, Runtime

__all__ = [
    "Counting",
    "Driver",
    "Exit",
    "Halting",
    "ImageFiles",
    "Machine",
    "MachineSpec",
    "Moment",
    "Probe",
    "Restoring",
    "Saving",
]


@dataclass(frozen=True)
class ImageFiles:
    """The files of one golden image that a machine is made from; all read-only, never changed in place."""

    root: Path  # EROFS
    kernel: Path  # bzImage
    elf_kernel: Path  # the same, unpacked
    initrd: Path
    disk: Path  # ext4, the template of a desktop's writable disk (small, sparse)

    @staticmethod
    def of(directory: Path) -> ImageFiles:
        return ImageFiles(
            root=directory / "root.erofs",
            kernel=directory / "vmlinuz",
            elf_kernel=directory / "vmlinux",
            initrd=directory / "initrd",
            disk=directory / "disk.img",
        )


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """Everything a driver needs. `directory` is the machine's own (may be empty or left over)."""

    desktop_id: str
    slot: int  # unique among the desktops of a host: uid ranges are derived from it
    image: ImageFiles
    disk: Path
    disk_gib: int
    vcpus: int
    memory_mib: int
    directory: Path
    console: Path
    disk_mount: Path
    root_mount: Path
    link: Link
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True)
class Moment:
    """The files of one machine at one moment, in a directory of their own; see docs/explanation/moments.md.

    A driver writes and reads `memory`, `pages`, `devices` and `base`; `disk` and `manifest` are the
    keeper's, and `manifest`, written last, is what makes the moment whole.
    """

    directory: Path

    @property
    def memory(self) -> Path:
        """Pages at their own offsets, holes between them; of a template the whole memory."""
        return self.directory / "memory"

    @property
    def pages(self) -> Path:
        """Which pages `memory` has, in the driver's own form; others are as in `base`. Without a base they
        are zero, and there may be no list."""
        return self.directory / "pages"

    @property
    def base(self) -> Path:
        """A hard link to the memory of the template it began with, if it began with one."""
        return self.directory / "base"

    @property
    def devices(self) -> Path:
        """The state of processors and devices, in the VMM's own form."""
        return self.directory / "devices"

    @property
    def disk(self) -> Path:
        """The writable disk as it was then; a paused desktop's is the desktop's own `disk.img` instead."""
        return self.directory / "disk.img"

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"


@dataclass(frozen=True)
class Probe:
    """Whether a runtime works on this host. `hint` says what to do when it does not."""

    works: bool
    isolation: Isolation
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class Exit:
    """How a machine ended: `code` (negative: signal; None: it was not our child), and why, in words."""

    code: int | None
    detail: str


class Machine(Protocol):
    """A running machine."""

    @property
    def isolation(self) -> Isolation: ...

    @property
    def record(self) -> Mapping[str, Any]:
        """JSON for the journal, with pid and start time; `Driver.adopt` understands it."""
        ...

    async def wait(self) -> Exit:
        """Until the machine has ended, by whatever cause."""
        ...

    async def stop(self, *, deadline_s: float) -> Exit: ...

    async def kill(self) -> Exit: ...


class Driver(Protocol):
    runtime: Runtime

    async def prepare_disk(self, spec: MachineSpec) -> None:
        """Make `spec.disk` from the image's template if it does not exist. NoSpaceError leaves none."""
        ...

    async def start(self, spec: MachineSpec) -> Machine: ...

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> Machine | None: ...

    async def release(self, spec: MachineSpec) -> None: ...


@runtime_checkable
class Halting(Protocol):
    """A machine that can stand still."""

    async def halt(self) -> None:
        """Nothing of the guest runs when this returns; what it wrote is in its disk's file. Idempotent."""
        ...

    async def go_on(self) -> None:
        """The guest runs (again) when this returns. Idempotent."""
        ...

    async def halted(self) -> bool: ...


@runtime_checkable
class Saving(Halting, Protocol):
    """A machine whose memory can be kept."""

    async def save(self, moment: Moment) -> None:
        """Write memory and devices of this halted machine into `moment`'s (existing) directory.

        Synced to the disk when this returns. The machine stays halted, and may go on. On any error what
        was written is the caller's to remove.
        """
        ...


@runtime_checkable
class Restoring(Protocol):
    """A driver whose machines are `Saving`."""

    async def engine(self, spec: MachineSpec) -> str:
        """Everything besides the specification that must be the same where a moment is restored: VMM and
        version, machine type, CPU model, the host's CPU where the guest sees it. Any text; compared whole.
        """
        ...

    async def restore(self, spec: MachineSpec, moment: Moment) -> Machine:
        """A machine that stands where `moment` was saved, halted: `go_on` runs it. Its record allows
        `adopt` at once. Raises LaunchError and leaves nothing behind if the moment cannot be restored.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A machine whose VMM counts what it does."""

    @property
    def counted(self) -> Mapping[str, int]:
        """Totals since this keeper knows it, by the VMM's own names, as they were last told."""
        ...

    async def count(self, *, deadline_s: float) -> Mapping[str, int]:
        """The same as of now; as last told if it does not answer in time."""
        ...
