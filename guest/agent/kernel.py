"""The kernel's part of an identity: random numbers, clock, host name and boot id."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from agent.identity import Identity, Waking
from oriel.model.errors import HostError

__all__ = ["in_container", "personalise_kernel", "shift_clock", "wake_kernel"]

# <linux/random.h>: _IOW('R', 0x03, int[2]) and _IO('R', 0x07)
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
MS_BIND = 4096  # <sys/mount.h>
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
OUR_BOOT_ID = Path("/run/oriel/boot_id")
REFUSED = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOTTY)


def in_container() -> bool:
    """Whether systemd found itself in a container (systemd.io/CONTAINER_INTERFACE)."""
    return Path("/run/systemd/container").exists()


def personalise_kernel(identity: Identity, *, container: bool) -> dict[str, str]:
    """Reseed first, so that nothing is made from a template's random numbers; then clock and name.

    What a container may not do, since it shares its host's kernel, is in the result with the reason.
    In a machine the same refusal is a HostError: a clone with another's random numbers must not run.
    """
    skipped: dict[str, str] = {}
    actions: dict[str, Callable[[], None]] = {
        "entropy": lambda: reseed(identity.entropy),
        "clock": lambda: set_clock(identity),
        "hostname": lambda: socket.sethostname(identity.hostname),
    }
    if container:
        skipped["boot_id"] = "each container has its own"
    else:
        actions["boot_id"] = renew_boot_id
    for what, action in actions.items():
        try:
            action()
        except OSError as error:
            if not (container and error.errno in REFUSED):
                raise HostError(
                    f"the desktop's kernel refused its {what}: {error.strerror}",
                    hint="the agent must run as root in the desktop",
                ) from error
            skipped[what] = "a container shares it with its host"
    return skipped


def reseed(entropy: bytes) -> None:
    """Mix `entropy` into the kernel's random numbers, credited in full, and begin anew from them."""
    with Path("/dev/urandom").open("rb") as device:
        pool = struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def wake_kernel(waking: Waking) -> None:
    """Fresh random numbers first, then the time. HostError if the kernel refuses: it must not go on so."""
    try:
        reseed(waking.entropy)
        set_clock(waking)
    except OSError as error:
        raise HostError(
            f"the desktop's kernel could not be woken: {error.strerror}",
            hint="the agent must run as root in the desktop",
        ) from error


def renew_boot_id() -> None:
    """The kernel's own was made before the template was: programs see another one in its place."""
    OUR_BOOT_ID.parent.mkdir(parents=True, exist_ok=True)
    mounted = OUR_BOOT_ID.exists()
    OUR_BOOT_ID.write_text(f"{uuid.uuid4()}\n")  # in place: what is mounted is this very file
    libc = ctypes.CDLL(None, use_errno=True)
    if not mounted and libc.mount(bytes(OUR_BOOT_ID), bytes(BOOT_ID), None, MS_BIND, None) != 0:
        OUR_BOOT_ID.unlink()
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_clock(identity: Waking) -> None:
    late = time.monotonic_ns() - identity.received_ns
    time.clock_settime_ns(time.CLOCK_REALTIME, identity.time_ns + late)


def shift_clock(by_ns: int) -> None:
    """HostError if the kernel refuses."""
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + by_ns)
    except OSError as error:
        raise HostError(
            f"the desktop's clock could not be set: {error.strerror}",
            hint="the agent must run as root in the desktop",
        ) from error
