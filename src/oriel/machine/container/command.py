"""A container as systemd-nspawn's command line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oriel.host.cgroups import Limits
from oriel.host.mounts import ID_RANGE
from oriel.machine.driver import MachineSpec
from oriel.model.errors import HostError

__all__ = ["ENVIRONMENT", "first_id", "limits", "nspawn_argv"]

FIRST_ID = 1_000_000
MAX_PROCESSES = 8192  # threads of one desktop: Chrome with many tabs needs some 2,000

ENVIRONMENT = {
    # The guest gets a version 2 control tree on every host, as in a virtual machine (systemd 256 refuses 1).
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    # Only the desktop's keeper uses this tree; a killed nspawn would leave its lock files behind.
    "SYSTEMD_NSPAWN_LOCK": "0",
}


def first_id(slot: int) -> int:
    """The host's id of the container's root; 65536 from there on are the container's."""
    return FIRST_ID + slot * ID_RANGE


def limits(spec: MachineSpec) -> Limits:
    return Limits(memory_mib=spec.memory_mib, cpus=spec.vcpus, processes=MAX_PROCESSES)


def nspawn_argv(spec: MachineSpec, program: Sequence[str | Path] = ()) -> list[str | Path]:
    """Boot the tree at `spec.root_mount`, or run just `program` in it.

    nspawn is started inside the prepared namespace instead of being told its path: so the namespace
    belongs to the host, and the container's root has no power over its device, addresses and routes.
    """
    if spec.link.guest_netns is None:
        raise HostError("a container needs a link with a guest namespace", hint="make_link(…, CONTAINER, …)")
    return [
        "nsenter",
        f"--net={spec.link.guest_netns}",
        "--",
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        f"--machine={spec.desktop_id}",
        f"--directory={spec.root_mount}",
        f"--private-users={first_id(spec.slot)}:{ID_RANGE}",
        "--private-users-ownership=off",  # the mounts below are idmapped already (tree.py)
        *(["--", *program] if program else ["--boot"]),
    ]
