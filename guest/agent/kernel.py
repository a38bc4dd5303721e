"""The kernel's part of an identity: host name, clock and random numbers."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from agent.identity import Identity
from oriel.model.errors import HostError

__all__ = ["in_container", "personalise_kernel"]

# <linux/random.h>: _IOW('R', 0x03, int[2]) and _IO('R', 0x07)
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
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


def set_clock(identity: Identity) -> None:
    late = time.monotonic_ns() - identity.received_ns
    time.clock_settime_ns(time.CLOCK_REALTIME, identity.time_ns + late)
