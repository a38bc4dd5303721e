"""Loop devices that cannot leak: they detach themselves once nobody uses them (LO_FLAGS_AUTOCLEAR)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

from oriel.model.errors import HostError

__all__ = ["loop_device", "loops_of", "wait_detached"]

# <linux/loop.h>
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4
CONFIG_SIZE, CONFIG_FD, CONFIG_FLAGS = 304, 0, 8 + 52  # struct loop_config: fd, block_size, loop_info64
IN_CLOSE = 0x18  # <sys/inotify.h>
ATTEMPTS = 64  # another process may take the free device first

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def loop_device(file: Path, *, read_only: bool = False) -> Iterator[Path]:
    """`file` as a block device. What mounts the device inside the block keeps it alive from then on.

    Raises HostError if the host has no loop devices, OSError if the file cannot be opened.
    """
    backing = os.open(file, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        device, fd = _attach(backing, LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0))
    finally:
        os.close(backing)
    try:
        yield device
    finally:
        os.close(fd)


def _attach(backing: int, flags: int) -> tuple[Path, int]:
    config = bytearray(CONFIG_SIZE)
    config[CONFIG_FD : CONFIG_FD + 4] = backing.to_bytes(4, "little")
    config[CONFIG_FLAGS : CONFIG_FLAGS + 4] = flags.to_bytes(4, "little")
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            "the host has no loop devices (/dev/loop-control)", hint="modprobe loop, as root"
        ) from error
    try:
        for _ in range(ATTEMPTS):
            device = Path(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}")
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, bytes(config))
                return device, fd
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise HostError(f"{device} took no file: {error.strerror}") from error
    finally:
        os.close(control)
    raise HostError(
        f"no loop device was free in {ATTEMPTS} attempts", hint="`losetup -a` lists who holds them"
    )


def wait_detached(file: Path, *, deadline_s: float) -> None:
    """Until no loop device is backed by `file`. HostError if one still is after `deadline_s`.

    The mount namespace of an ended process is taken down a moment later, and its mounts with it. The
    driver then closes the file, which inotify(7) reports.
    """
    end = time.monotonic() + deadline_s
    watch = _watch_closing(file)
    try:
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        while left := loops_of(file):
            wait_s = end - time.monotonic()
            if wait_s <= 0:
                hint = "something has copied the mount: `grep -l NAME /proc/*/mountinfo` finds it"
                raise HostError(f"{file} is still in use by {left[0]}", hint=hint)
            if poller.poll(wait_s * 1000):
                os.read(watch, 4096)
    finally:
        os.close(watch)


def _watch_closing(file: Path) -> int:
    watch: int = _libc.inotify_init1(os.O_CLOEXEC)
    if watch < 0 or _libc.inotify_add_watch(watch, os.fsencode(file), IN_CLOSE) < 0:
        number = ctypes.get_errno()
        if watch >= 0:
            os.close(watch)
        raise HostError(
            f"{file} cannot be watched: {os.strerror(number)}", hint="sysctl fs.inotify.max_user_instances"
        )
    return watch


def loops_of(file: Path) -> list[Path]:
    """The loop devices that are backed by `file`."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(FileNotFoundError):
            if entry.read_text().rstrip("\n") == str(file.resolve()):
                found.append(Path("/dev") / entry.parts[3])
    return found
