"""What a host of machines for several people should have off or on. Advice: no desktop needs it.

After Firecracker's docs/prod-host-setup.md, which holds for every virtual machine.
"""

from __future__ import annotations

from pathlib import Path

from oriel.host.checks import Check
from oriel.host.mounts import read_mounts

__all__ = ["advice"]

SMT = Path("/sys/devices/system/cpu/smt/active")
KSM = Path("/sys/kernel/mm/ksm/run")
SWAPS = Path("/proc/swaps")
NESTED = tuple(Path(f"/sys/module/kvm_{vendor}/parameters/nested") for vendor in ("intel", "amd"))


def advice() -> list[Check]:
    return [_smt(), _same_pages(), _swap(), _nested(), _cgroup_of_restores()]


def _smt() -> Check:
    on = _read(SMT) == "1"
    hint = (
        "echo off > /sys/devices/system/cpu/smt/control: siblings of a core can spy on each other"
        if on
        else ""
    )
    return Check("advice.smt", not on, False, "SMT is on" if on else "SMT is off", hint)


def _same_pages() -> Check:
    on = _read(KSM) == "1"
    hint = "echo 2 > /sys/kernel/mm/ksm/run: merged pages tell one guest what another holds" if on else ""
    return Check("advice.ksm", not on, False, "KSM is on" if on else "KSM is off", hint)


def _swap() -> Check:
    devices = [line.split()[0] for line in _read(SWAPS).splitlines()[1:]]
    hint = "swapoff: a guest's memory would stay readable on the disk" if devices else ""
    return Check("advice.swap", not devices, False, ", ".join(devices) or "no swap", hint)


def _nested() -> Check:
    """Only where KVM is: guests that make guests of their own see more of the host's kernel."""
    on = any(_read(file) in ("1", "Y") for file in NESTED)
    detail = "guests may use virtualization themselves" if on else "no nested virtualization for guests"
    hint = "modprobe kvm_intel nested=0 (or kvm_amd): desktops do not need it" if on else ""
    return Check("advice.nested", not on, False, detail, hint)


def _cgroup_of_restores() -> Check:
    """https://github.com/firecracker-microvm/firecracker/issues/2129"""
    old = any(item.kind == "cgroup" for item in read_mounts())
    detail = "version 1 controllers" if old else "version 2 alone"
    hint = "systemd.unified_cgroup_hierarchy=1: restoring a microVM is slower with version 1" if old else ""
    return Check("advice.cgroup", not old, False, detail, hint)


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""
