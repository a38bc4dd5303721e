"""Slots: small numbers, each held by one desktop of a host, whatever its home.

A slot is a file `/run/oriel/slots/N` that names its holder. It gives the desktop's gateway and VMM a
uid of their own and its container a range of uids, so two desktops never share one. The files live
on a tmpfs: after a restart of the host all are free, and a desktop claims its old number first.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oriel.host.layout import Home, netns_path
from oriel.host.records import read_json, write_json
from oriel.model.errors import BusyError
from oriel.model.spec import DESKTOP_ID

__all__ = ["SLOTS", "Holder", "claim", "holders", "process_uid", "release", "slot_of"]

SLOTS = Path("/run/oriel/slots")
COUNT = 16384
PROCESS_UID_BASE = 200_000


@dataclass(frozen=True)
class Holder:
    """Who holds a slot."""

    home: Path
    desktop: str

    @property
    def stale(self) -> bool:
        """Whether nothing of that desktop is left that could still use the slot's uids."""
        return (
            not Home(self.home).desktop(self.desktop).root.is_dir() and not netns_path(self.desktop).exists()
        )


def process_uid(slot: int) -> int:
    """The uid (and gid) of the gateway and VMM of the desktop in `slot`."""
    return PROCESS_UID_BASE + slot


def claim(home: Path, desktop_id: str, *, preferred: int | None = None, directory: Path = SLOTS) -> int:
    """This desktop's slot: the one it holds, else `preferred` if free, else the lowest free one.

    Slots of desktops that no longer exist are taken over. BusyError if all are held.
    """
    with _locked(directory):
        held = holders(directory)
        wanted = Holder(home.resolve(), desktop_id)
        for number, holder in held.items():
            if holder == wanted:
                return number
        for free in itertools.chain([preferred or 0], range(1, COUNT)):
            if 0 < free < COUNT and (free not in held or held[free].stale):
                write_json(directory / str(free), {"home": str(wanted.home), "desktop": desktop_id})
                return free
    raise BusyError(f"all {COUNT - 1} slots of this host are held", hint="delete desktops you do not need")


def slot_of(home: Path, desktop_id: str, *, directory: Path = SLOTS) -> int | None:
    """The slot this desktop holds, if any."""
    wanted = Holder(home.resolve(), desktop_id)
    return next((number for number, holder in holders(directory).items() if holder == wanted), None)


def release(home: Path, desktop_id: str, *, directory: Path = SLOTS) -> None:
    """Give the desktop's slot back, if it holds one."""
    with _locked(directory):
        number = slot_of(home, desktop_id, directory=directory)
        if number is not None:
            (directory / str(number)).unlink(missing_ok=True)


def holders(directory: Path = SLOTS) -> dict[int, Holder]:
    """Every held slot. A file that does not name a holder (a torn write of a crashed host) is free."""
    if not directory.is_dir():
        return {}
    found: dict[int, Holder] = {}
    for name in sorted((entry.name for entry in directory.iterdir() if entry.name.isdigit()), key=int):
        data = read_json(directory / name) or {}
        home, desktop = data.get("home"), data.get("desktop")
        if isinstance(home, str) and isinstance(desktop, str) and DESKTOP_ID.match(desktop):
            found[int(name)] = Holder(Path(home), desktop)
    return found


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
