"""`personalise`: what makes a desktop this desktop. Idempotent, and complete or an error."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.arguments import Arguments
from agent.environment import set_variable
from agent.replacement import replace_files
from oriel.model.errors import NoSpaceError
from oriel.model.spec import LIMITS, NAME, Screen

__all__ = ["Identity", "Waking", "parse_identity", "parse_waking", "set_host_line", "write_files"]

ENTROPY_BYTES = 64
# A clock before this source was written, or past what 32-bit-minded programs bear, is a caller's mistake.
EARLIEST_NS, LATEST_NS = 1_700_000_000 * 10**9, 4_102_444_800 * 10**9


@dataclass(frozen=True, kw_only=True)
class Waking:
    """What a desktop needs to know that stood still for a while."""

    time_ns: int
    entropy: bytes
    received_ns: int  # CLOCK_MONOTONIC, to set the clock right although reading the rest took time

    def __repr__(self) -> str:
        return "Waking()"  # never the entropy


@dataclass(frozen=True, kw_only=True)
class Identity(Waking):
    session_id: str
    hostname: str
    machine_id: str
    screen: Screen

    def __repr__(self) -> str:
        return f"Identity({self.session_id}, {self.hostname})"  # never the entropy


def parse_identity(values: Mapping[str, Any]) -> Identity:
    """The arguments of `personalise`; InvalidError with all faults."""
    received = time.monotonic_ns()
    args = Arguments(values)
    screen = args.nested("screen")
    identity = Identity(
        session_id=args.text("session_id", "1 to 64 of A-Z a-z 0-9 _ . -", pattern=r"[A-Za-z0-9_.-]{1,64}"),
        hostname=args.text(
            "hostname", "1 to 63 of a-z, 0-9 and -, not beginning or ending with -", pattern=NAME.pattern
        ),
        machine_id=args.text("machine_id", "32 of 0-9 a-f, not all 0", pattern=r"(?!0{32})[0-9a-f]{32}"),
        time_ns=args.whole("time_ns", EARLIEST_NS, LATEST_NS),
        entropy=_entropy(args),
        screen=Screen(
            width=screen.whole("width", *LIMITS["screen.width"]),
            height=screen.whole("height", *LIMITS["screen.height"]),
        ),
        received_ns=received,
    )
    screen.unknown()
    args.done()
    return identity


def parse_waking(values: Mapping[str, Any]) -> Waking:
    """The arguments of `wake`; InvalidError with all faults."""
    received = time.monotonic_ns()
    args = Arguments(values)
    waking = Waking(
        time_ns=args.whole("time_ns", EARLIEST_NS, LATEST_NS), entropy=_entropy(args), received_ns=received
    )
    args.done()
    return waking


def _entropy(args: Arguments) -> bytes:
    text = args.text("entropy", "base64")
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != ENTROPY_BYTES:
        args.fault("entropy", f"must be {ENTROPY_BYTES} bytes in base64")
    return value


def write_files(identity: Identity, root: Path) -> None:
    """The identity in the files under `root`, each replaced whole. NoSpaceError if the disk is full."""
    etc = root / "etc"
    dbus = root / "var/lib/dbus/machine-id"
    wanted = {
        etc / "environment": set_variable(_read(etc / "environment"), "SESSION_ID", identity.session_id),
        etc / "hostname": identity.hostname + "\n",
        etc / "hosts": set_host_line(_read(etc / "hosts"), identity.hostname),
        etc / "machine-id": identity.machine_id + "\n",
    }
    if dbus.exists() and not dbus.is_symlink():
        wanted[dbus] = identity.machine_id + "\n"
    try:
        changed = {path: text for path, text in wanted.items() if _read(path) != text}
        replace_files({path: text.encode(errors="surrogateescape") for path, text in changed.items()})
    except OSError as error:
        raise NoSpaceError(
            f"{error.filename or 'a file'} of the desktop could not be written: {error.strerror}",
            hint="free some space in the desktop",
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def set_host_line(text: str, hostname: str) -> str:
    """/etc/hosts where 127.0.1.1 is this host (Debian's convention); sudo and others look it up."""
    kept = [line for line in text.splitlines() if line.split()[:1] != ["127.0.1.1"]]
    if not any("localhost" in line.split()[1:] for line in kept):
        kept.insert(0, "127.0.0.1 localhost")
    return "\n".join([*kept, f"127.0.1.1 {hostname}"]) + "\n"
