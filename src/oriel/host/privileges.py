"""Giving up what a process does not need: capabilities, core dumps, readable files.

The kernel's own numbers stand here because the standard library has no door to prctl(2) and
capset(2). A capability dropped here is gone from the bounding set too, so no program started later
by this process gets it back (capabilities(7)); only a new user namespace has its own full set.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable
from pathlib import Path

from oriel.model.errors import HostError

__all__ = ["CAPABILITIES", "bounding_set", "drop_capabilities", "forbid_core_dumps"]

PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
CAPABILITY_VERSION_3 = 0x20080522

# In the kernel's order (uapi/linux/capability.h); the index is the number.
CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip


def forbid_core_dumps() -> None:
    """No core file of this process, no ptrace by others, and files it makes are its own (umask 077).

    The limit is inherited, and may be raised again by what we start (a container's systemd does so).
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Needed beside the limit: a core_pattern that is a pipe ignores RLIMIT_CORE (core(5)).
    _checked(_libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def drop_capabilities(names: Iterable[str]) -> None:
    """Drop capabilities from every set of this process and from what it starts, for good.

    Names the kernel does not know yet are already absent. HostError if the kernel refuses.
    """
    libc = _libc()
    known = _last_capability()
    dropped = [number for number in map(CAPABILITIES.index, names) if number <= known]
    for number in dropped:
        _checked(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), f"dropping cap_{CAPABILITIES[number]}")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _checked(libc.capget(header, data), "capget")
    for number in dropped:
        word, bit = divmod(number, 32)
        for offset in range(3):  # effective, permitted, inheritable
            data[word * 3 + offset] &= ~(1 << bit) & 0xFFFFFFFF
    _checked(libc.capset(header, data), "capset")


def bounding_set(pid: int | str = "self") -> frozenset[str]:
    """The capabilities a process could still get."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(CAPABILITIES) if bits >> number & 1)
    return frozenset()


def _last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int, what: str) -> None:
    if status != 0:
        raise HostError(f"{what} failed: {os.strerror(ctypes.get_errno())}", hint="run it as root")
