"""What is asked of Firecracker's API, as values: one pure function per request.

The paths in the bodies are those inside the jail (jail.py), the same for every desktop: so a machine that is
restored finds the files, the tap and the socket where the saved one had them. Fields as in the published
schema, `src/firecracker/swagger/firecracker.yaml` of Firecracker 1.16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from oriel.machine.driver import MachineSpec
from oriel.model.link import GUEST_MAC
from oriel.model.spec import Rates

__all__ = [
    "DEVICES",
    "DISK",
    "INITRD",
    "KERNEL",
    "MEMORY",
    "NEW_DEVICES",
    "NEW_MEMORY",
    "ROOT",
    "Call",
    "boot",
    "control_alt_delete",
    "flush_metrics",
    "halt",
    "instance",
    "limit",
    "load",
    "proceed",
    "save",
    "trial",
]

KERNEL, INITRD, ROOT, DISK = "/vmlinux", "/initrd", "/root.erofs", "/disk.img"
MEMORY, DEVICES = "/memory", "/devices"  # of a moment, to be restored
Limiter: TypeAlias = dict[str, dict[str, int]]  # Firecracker's RateLimiter: buckets
NEW_MEMORY, NEW_DEVICES = "/memory.new", "/devices.new"  # of a moment, being saved


@dataclass(frozen=True)
class Call:
    """One request. `body` None: no body."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


def boot(spec: MachineSpec, append: str) -> list[Call]:
    """A cold boot: everything that makes the machine, in the order of its devices, and its start."""
    return [
        _machine(spec.vcpus, spec.memory_mib),
        _kernel(append),
        # No root device: the initrd takes the first disk for the image, the second for the desktop's.
        _drive("root", ROOT, read_only=True),
        _drive("disk", DISK, read_only=False, limiter=_disk_limiter(spec.rates)),
        _interface(spec.link.device, _network_limiter(spec.rates)),
        _balloon(),
        Call("PUT", "/entropy", {}),
        _action("InstanceStart"),
    ]


def trial(append: str) -> dict[str, Any]:
    """A machine with nothing but a kernel and a console, as one configuration file, for a test boot."""
    return {
        "boot-source": _kernel(append).body,
        "machine-config": _machine(1, 256).body,
        "drives": [],
    }


def load() -> Call:
    """Make the machine of the moment in the jail, standing still. The clock is the agent's to set.

    `clock_realtime` would move the monotonic clock too: every timer of the guest would end at once.
    """
    backend = {"backend_type": "File", "backend_path": MEMORY}
    body = {
        "snapshot_path": DEVICES, "mem_backend": backend, "resume_vm": False, "track_dirty_pages": True,
    }  # fmt: skip
    return Call("PUT", "/snapshot/load", body)


def limit(rates: Rates) -> list[Call]:
    """Give a restored machine limits of its own: its template had none."""
    disk = {"drive_id": "disk", "rate_limiter": _disk_limiter(rates)}
    link = {"iface_id": "link"} | _both_ways(_network_limiter(rates))
    return [Call("PATCH", "/drives/disk", disk), Call("PATCH", "/network-interfaces/link", link)]


def save() -> Call:
    """Write a machine that stands still. One that was booted writes all memory it ever touched, with holes
    between; one that was restored only what it tracked, and is kept by memory.py instead."""
    body = {"snapshot_type": "Diff", "snapshot_path": NEW_DEVICES, "mem_file_path": NEW_MEMORY}
    return Call("PUT", "/snapshot/create", body)


def halt() -> Call:
    return Call("PATCH", "/vm", {"state": "Paused"})


def proceed() -> Call:
    return Call("PATCH", "/vm", {"state": "Resumed"})


def instance() -> Call:
    """Asks for `{id, state, vmm_version, app_name}`."""
    return Call("GET", "/")


def control_alt_delete() -> Call:
    return _action("SendCtrlAltDel")


def flush_metrics() -> Call:
    return _action("FlushMetrics")


def _action(name: str) -> Call:
    return Call("PUT", "/actions", {"action_type": name})


def _machine(vcpus: int, memory_mib: int) -> Call:
    body = {"vcpu_count": vcpus, "mem_size_mib": memory_mib, "smt": False, "track_dirty_pages": False}
    return Call("PUT", "/machine-config", body)


def _kernel(append: str) -> Call:
    body = {"kernel_image_path": KERNEL, "initrd_path": INITRD, "boot_args": append}
    return Call("PUT", "/boot-source", body)


def _drive(name: str, path: str, *, read_only: bool, limiter: Limiter | None = None) -> Call:
    """`Writeback`: the guest's flush reaches the file. `Unsafe`, the default, would drop it."""
    body = {
        "drive_id": name, "path_on_host": path, "is_root_device": False, "is_read_only": read_only,
        "cache_type": "Unsafe" if read_only else "Writeback", "io_engine": "Sync",
    }  # fmt: skip
    return Call("PUT", f"/drives/{name}", body | ({"rate_limiter": limiter} if limiter else {}))


def _interface(device: str, limiter: Limiter) -> Call:
    body = {"iface_id": "link", "host_dev_name": device, "guest_mac": GUEST_MAC}
    return Call("PUT", "/network-interfaces/link", body | _both_ways(limiter))


def _both_ways(limiter: Limiter) -> dict[str, Limiter]:
    return {"rx_rate_limiter": limiter, "tx_rate_limiter": limiter}


def _disk_limiter(rates: Rates) -> Limiter:
    return {"bandwidth": _bucket(rates.disk_mib_s << 20), "ops": _bucket(rates.disk_ops_s)}


def _network_limiter(rates: Rates) -> Limiter:
    return {"bandwidth": _bucket(rates.network_mib_s << 20)}


def _bucket(each_second: int) -> dict[str, int]:
    """A bucket without size is no limit, and takes one away."""
    return {"size": each_second, "refill_time": 1000}


def _balloon() -> Call:
    """Takes no memory; the guest reports what it freed, and the host has it back."""
    body = {"amount_mib": 0, "deflate_on_oom": True, "free_page_reporting": True}
    return Call("PUT", "/balloon", body)
