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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from oriel.model.link import Link
from oriel.model.spec import Isolation, Runtime

__all__ = ["Driver", "Exit", "ImageFiles", "Machine", "MachineSpec", "Probe"]


@dataclass(frozen=True)
class ImageFiles:
    """The files of one golden image that a machine is made from; all read-only, never changed in place."""

    root: Path  # EROFS
    kernel: Path
    initrd: Path
    disk: Path  # ext4, the template of a desktop's writable disk (small, sparse)

    @staticmethod
    def of(directory: Path) -> ImageFiles:
        return ImageFiles(
            root=directory / "root.erofs",
            kernel=directory / "vmlinuz",
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
