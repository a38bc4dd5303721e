"""A microVM as the jailer's command line. Pure.

The jailer builds the jail around the files that jail.py put there, enters namespace and control group, gives
up root for the slot's uid and becomes Firecracker: one process from the first to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oriel.host.cgroups import PARENT, Limits
from oriel.machine.driver import MachineSpec

__all__ = ["METRICS", "SOCKET", "jailer_argv", "kernel_command_line", "limits"]

SOCKET = "/api.sock"  # inside the jail
METRICS = "/metrics"  # inside the jail: a pipe
EXECUTABLE = "firecracker"  # what the jailer calls the program, and the directory above the jails
MAX_PROCESSES = 64  # threads: one per vCPU, and a few
OVERHEAD_MIB = 128  # Firecracker itself needs some 5; the rest is the kernel's, for its files and sockets
OPEN_FILES = 256


def kernel_command_line(*extra: str, loud: bool = False) -> str:
    """`reboot=k`: a machine ends by a keyboard reset only; the image's shutdown knows (guest/rootfs)."""
    words = ("console=ttyS0", "panic=-1", "reboot=k", "net.ifnames=0")
    return " ".join((*words, *(() if loud else ("quiet",)), *extra))


def jailer_argv(
    *,
    jailer: Path,
    firecracker: Path,
    name: str,
    uid: int,
    base: Path,
    netns: Path | None,
    options: Sequence[str],
) -> list[str | Path]:
    """Firecracker in the jail `base`/firecracker/`name`/root, as `uid`; `options` are its own.

    The control group is made already and holds the jailer (host/cgroups.py): it is told the same one, since
    without a name it would join any group that happens to be called after the program.
    """
    return [
        jailer,
        *("--id", name),
        *("--exec-file", firecracker),
        *("--uid", str(uid), "--gid", str(uid)),
        *("--chroot-base-dir", base),
        *(("--netns", netns) if netns is not None else ()),
        *("--cgroup-version", "2", "--parent-cgroup", f"{PARENT}/{name}"),
        *("--resource-limit", f"no-file={OPEN_FILES}"),
        "--",
        "--enable-pci",
        *("--level", "Error"),  # a guest that probes ports would fill its console with warnings
        *options,
    ]


def limits(spec: MachineSpec) -> Limits:
    """Of the whole process. A processor more than the guest has: Firecracker's own work must not starve it.
    Memory of a guest never reaches a disk of the host as swap."""
    return Limits(
        memory_mib=spec.memory_mib + OVERHEAD_MIB, cpus=spec.vcpus + 1, processes=MAX_PROCESSES, swap=False
    )
