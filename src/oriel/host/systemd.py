"""This host's systemd, where there is one: telling it that we are ready, its sockets, scopes of their own.

Nothing of systemd's is linked: its protocols are a datagram, two variables and one command.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

__all__ = ["activated", "in_scope", "is_booted", "notify"]

BOOTED = Path("/run/systemd/system")
FIRST_FD = 3  # sd_listen_fds(3)


def is_booted() -> bool:
    """Whether systemd runs this host (sd_booted(3))."""
    return BOOTED.is_dir()


def in_scope(argv: Sequence[str | Path], name: str, *, before: str) -> list[str | Path]:
    """`argv` in a transient scope of its own: neither the unit nor the session it comes from ends it.

    systemd-run makes the scope, then becomes `argv`: same pid, same descriptors. The name gets a suffix,
    since a scope lives as long as anything in it. `before`: a unit that a shutdown stops earlier.
    """
    unit = f"{name}-{secrets.token_hex(4)}.scope"
    return [
        "systemd-run", "--scope", "--quiet", "--collect", f"--unit={unit}", "--slice=oriel.slice",
        f"--description=Oriel: {name}", f"--property=Before={before}", "--", *argv,
    ]  # fmt: skip


def notify(state: str) -> None:
    """Tell who started us, `READY=1` as a rule, if it is systemd and wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())


def activated() -> int | None:
    """The one listening socket that systemd opened for us (sd_listen_fds(3)); None if it did not."""
    mine = os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1"
    return FIRST_FD if mine else None
