"""The jail of one Firecracker: a directory that becomes its root, with just the files it needs.

The files are views (bind mounts) in a mount namespace that only the machine is in: nothing is copied, also
not from another file system, and they go with the machine however it ends. Only the disk is given to the
slot's uid; what is read-only belongs to root. The jailer copies the program and makes the devices.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oriel.host.mounts import clone_mount
from oriel.machine.driver import MachineSpec
from oriel.machine.firecracker.calls import DISK, INITRD, KERNEL, ROOT
from oriel.machine.firecracker.command import EXECUTABLE, METRICS
from oriel.model.errors import HostError

__all__ = ["Jail", "files_of"]


@dataclass(frozen=True)
class Jail:
    """The jail called `name` below `base`."""

    base: Path
    name: str

    @property
    def root(self) -> Path:
        """As the jailer wants it."""
        return self.base / EXECUTABLE / self.name / "root"

    @property
    def metrics(self) -> Path:
        return self.path(METRICS)

    def path(self, inside: str) -> Path:
        """Where the host sees a path of the jail."""
        return self.root / inside.lstrip("/")

    def make(self, uid: int) -> None:
        """The directory, and the pipe of the metrics for `uid`. What an earlier machine left must be gone."""
        self.root.mkdir(parents=True)
        os.mkfifo(self.metrics, 0o600)
        os.chown(self.metrics, uid, uid)

    def show(self, files: Mapping[str, Path]) -> None:
        """In the machine's own mount namespace: make `files` (path inside: file) appear in the jail.

        Raises HostError naming the file that is missing.
        """
        for inside, file in files.items():
            if not file.exists():
                raise HostError(f"{file} is missing", hint="build or import the image again")
            place = self.path(inside)
            place.touch(mode=0o600)
            clone_mount(file.resolve(), place)


def files_of(spec: MachineSpec) -> dict[str, Path]:
    """What a booting machine needs; a restored one needs the disks only, and its moment."""
    return {
        KERNEL: spec.image.elf_kernel,
        INITRD: spec.image.initrd,
        ROOT: spec.image.root,
        DISK: spec.disk,
    }
