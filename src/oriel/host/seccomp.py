"""Filters of system calls (seccomp(2)): what a process, and all it starts, can never ask the kernel for.

A filter is a program of classic BPF over `struct seccomp_data`; making it is pure. Numbers are
the kernel's (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from oriel.model.errors import HostError

__all__ = ["CLOSED", "NO_PROCESSES", "confine", "program"]

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_…; REFUSE with an error number
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|…|K, BPF_RET|K
AT_NUMBER, AT_ARCHITECTURE, AT_FIRST_ARGUMENT = 0, 4, 16
CLONE_THREAD = 0x00010000
X32 = 0x40000000  # x86's third ABI has numbers of its own, from here on
FAMILIES = (1, 2, 10, 16)  # unix, IPv4, IPv6; netlink, by which the C library looks for addresses

# name: (x86_64, aarch64); None where the architecture has no such call
CALLS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "chroot": (161, 51), "clone": (56, 220),
    "clone3": (435, 435), "delete_module": (176, 106), "execve": (59, 221), "execveat": (322, 281),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fork": (57, None), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fsopen": (430, 430), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "mknod": (133, None), "mknodat": (259, 33), "modify_ldt": (154, None), "mount": (165, 40),
    "mount_setattr": (442, 442), "move_mount": (429, 429), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pivot_root": (155, 41), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60), "reboot": (169, 142),
    "request_key": (249, 218), "setgid": (106, 144), "setgroups": (116, 159), "sethostname": (170, 161),
    "setns": (308, 268), "setregid": (114, 143), "setresgid": (119, 149), "setresuid": (117, 147),
    "setreuid": (113, 145), "setuid": (105, 146), "socket": (41, 198), "swapoff": (168, 225),
    "swapon": (167, 224), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
    "vfork": (58, None),
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of CALLS, AUDIT_ARCH_…

# What changes the kernel or looks into it, and no machine of ours needs: for a keeper and all it starts.
CLOSED = (
    "acct", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load",
    "open_by_handle_at", "perf_event_open", "quotactl", "swapoff", "swapon", "userfaultfd",
)  # fmt: skip
# For a process that only ever moves bytes between sockets: no other program, process, identity, file system.
NO_PROCESSES = tuple(name for name in CALLS if name not in ("clone", "clone3", "socket"))

Step = tuple[int, int, int, int]  # struct sock_filter: code, jump if true, jump if false, value


def program(refused: Iterable[str], machine: str, *, alone: bool = False) -> list[Step]:
    """A filter that refuses these calls with EPERM.

    `alone`: nor any new process (threads may be), nor sockets but of the internet and of this host.
    HostError for an architecture whose numbers are not known.
    """
    if machine not in ARCHITECTURES:
        raise HostError(f"system calls of {machine} are not known", hint="Oriel's are x86_64 and aarch64")
    column, architecture = ARCHITECTURES[machine]
    steps: list[Step] = [
        (LOAD, 0, 0, AT_ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, AT_NUMBER),
    ]  # fmt: skip
    if machine == "x86_64":
        steps += [(AT_LEAST, 0, 1, X32), _refuse(errno.EPERM)]
    for name in refused:
        if (number := CALLS[name][column]) is not None:
            steps += [(EQUAL, 0, 1, number), _refuse(errno.EPERM)]
    if alone:
        clone, clone3, socket = (CALLS[name][column] or 0 for name in ("clone", "clone3", "socket"))
        # Its flags are behind a pointer, where no filter sees: the C library falls back to clone.
        steps += [(EQUAL, 0, 1, clone3), _refuse(errno.ENOSYS)]
        steps += [(EQUAL, 0, 4, clone), (LOAD, 0, 0, AT_FIRST_ARGUMENT), (ANY_BIT, 0, 1, CLONE_THREAD)]
        steps += [(RETURN, 0, 0, ALLOW), _refuse(errno.EPERM)]
        steps += [(EQUAL, 0, 2 + 2 * len(FAMILIES), socket), (LOAD, 0, 0, AT_FIRST_ARGUMENT)]
        for family in FAMILIES:
            steps += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
        steps += [_refuse(errno.EAFNOSUPPORT)]
    return [*steps, (RETURN, 0, 0, ALLOW)]


def confine(refused: Iterable[str], *, alone: bool = False) -> None:
    """Put this process, and whatever it starts, under such a filter; for good. HostError if it cannot be.

    Call it while there is one thread. Needs CAP_SYS_ADMIN, or that no new privileges are possible.
    """
    steps = program(refused, os.uname().machine, alone=alone)
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    filter_ = struct.pack("@HP", len(steps), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(filter_), 0, 0) != 0:
        number = ctypes.get_errno()
        raise HostError(f"the filter of system calls is refused: {os.strerror(number)}")


def _refuse(number: int) -> Step:
    return (RETURN, 0, 0, REFUSE | number)
