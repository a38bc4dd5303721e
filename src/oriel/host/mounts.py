"""Mounts: what mount(8) cannot promise. Idempotent unmounting, shared superblocks, idmapped clones.

The calls block only as long as the file system does; `machine` runs them in a worker thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oriel.host.process import BASE_ENVIRONMENT
from oriel.model.errors import HostError

__all__ = [
    "ID_RANGE",
    "NODEV",
    "NOSUID",
    "RDONLY",
    "Mount",
    "clone_mount",
    "enter_private_mounts",
    "mount",
    "mounts_below",
    "read_mounts",
    "unmount",
    "unmount_below",
    "user_namespace",
]

# mount(2) and <linux/mount.h>
RDONLY, NOSUID, NODEV = 1, 2, 4
REC, SLAVE = 1 << 14, 1 << 19
CLONE_NEWNS = 0x00020000
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_IDMAP = 0x00100000

ID_RANGE = 65536  # user ids of one container

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc(5)). `device` is "major:minor", equal for one superblock."""

    device: str
    root: str
    target: Path
    kind: str
    source: str


def _failed(what: str) -> HostError:
    number = ctypes.get_errno()
    error = HostError(f"{what}: {os.strerror(number)}", hint="`oriel doctor` checks what mounts need")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


def mount(source: str | Path, target: Path, kind: str, *, flags: int = 0, options: str = "") -> None:
    """mount(2) at an existing directory. Raises HostError with the kernel's reason; then nothing is mounted.

    It propagates as the mount around it does: where systemd shares `/`, a service with a mount namespace
    of its own sees the unmounting too, and cannot keep a disk busy.
    """
    data = options.encode() or None
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, data) != 0:
        raise _failed(f"mounting {source} as {kind} at {target}")


def unmount(target: Path) -> None:
    """Detach everything mounted on `target`; nothing to do if there is nothing, or no such path."""
    while _libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise _failed(f"unmounting {target}")


def read_mounts() -> list[Mount]:
    """What is mounted in the mount namespace of this thread, in the order of mounting."""
    return [_parse(line) for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]


def enter_private_mounts() -> None:
    """Give the calling thread, and what it starts, a mount namespace of its own; for DedicatedThread.

    What is mounted there nobody else sees or copies, and it goes with the last process inside, whatever
    way that ends. Unmounting outside is still followed where the host shares its mounts.
    """
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise _failed("making a mount namespace")
    if _libc.mount(None, b"/", None, REC | SLAVE, None) != 0:
        raise _failed("keeping the host out of a mount namespace")


def _parse(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    _, _, device, root, target = left.split(" ")[:5]
    kind, source = right.split(" ")[:2]
    return Mount(device, _unescape(root), Path(_unescape(target)), kind, _unescape(source))


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounts_below(directory: Path) -> list[Path]:
    """Targets at or below `directory`, the last mounted first: the order in which to unmount."""
    resolved = directory.resolve()
    return [item.target for item in reversed(read_mounts()) if item.target.is_relative_to(resolved)]


def unmount_below(directory: Path) -> None:
    """Detach every mount at or below `directory`; idempotent."""
    for target in mounts_below(directory):
        unmount(target)


def clone_mount(source: Path, target: Path, *, user_namespace_fd: int | None = None) -> None:
    """Mount a second view of the mount at `source` on `target`: the same superblock, one page cache.

    With `user_namespace_fd` the clone is idmapped: ids on disk appear as that namespace maps them.
    The source must not be idmapped itself. Raises HostError; then nothing is mounted.
    """
    tree = _libc.syscall(
        SYS_OPEN_TREE, AT_FDCWD, os.fsencode(source), ctypes.c_uint(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    )
    if tree < 0:
        raise _failed(f"cloning the mount at {source}")
    try:
        if user_namespace_fd is not None:
            wanted = _MountAttributes(attr_set=MOUNT_ATTR_IDMAP, userns_fd=user_namespace_fd)
            size = ctypes.c_size_t(ctypes.sizeof(wanted))
            empty, flags = b"", ctypes.c_uint(AT_EMPTY_PATH)
            if _libc.syscall(SYS_MOUNT_SETATTR, tree, empty, flags, ctypes.byref(wanted), size) != 0:
                raise _failed(f"mapping the user ids of the mount at {source}")
        flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH)
        if _libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), flags) != 0:
            raise _failed(f"placing a mount at {target}")
    finally:
        os.close(tree)


@contextlib.contextmanager
def user_namespace(first_id: int) -> Iterator[int]:
    """A descriptor of a user namespace that maps the ids 0…65535 to those from `first_id` on.

    Root of the host is mapped too, to 65536: overlayfs makes its work directory and its whiteouts with
    the ids of who mounted it, and refuses (EOVERFLOW) where these have no place on the upper layer.
    """
    # A process may not leave its user namespace while it has threads, so a short-lived child makes it;
    # `cat` echoes a byte once it stands inside.
    child = subprocess.Popen(
        ["unshare", "--user", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=BASE_ENVIRONMENT,
        bufsize=0,
    )
    assert child.stdin is not None  # noqa: S101 - for mypy
    assert child.stdout is not None  # noqa: S101 - for mypy
    try:
        child.stdin.write(b".")
        if child.stdout.read(1) != b".":
            raise HostError(
                "this kernel gave no user namespace", hint="sysctl user.max_user_namespaces must not be 0"
            )
        for kind in ("uid", "gid"):
            mapping = f"0 {first_id} {ID_RANGE}\n{ID_RANGE} 0 1\n"
            Path(f"/proc/{child.pid}/{kind}_map").write_text(mapping)
        fd = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()
    try:
        yield fd
    finally:
        os.close(fd)
