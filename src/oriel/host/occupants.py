"""Whatever still runs in a desktop's name, found by what the kernel knows and not by a command line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterable
from pathlib import Path

from oriel.host.process import ProcessId, end

__all__ = ["end_occupants", "occupants"]


def occupants(namespaces: Iterable[Path], *, uid: int | None = None) -> list[ProcessId]:
    """Living processes inside one of the network `namespaces`, or with the real user id `uid`."""
    inodes = set()
    for path in namespaces:
        with contextlib.suppress(FileNotFoundError):
            inodes.add((path.stat().st_dev, path.stat().st_ino))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _belongs(entry, inodes, uid):
            process = ProcessId.of(int(entry.name))
            if process is not None:
                found.append(process)
    return found


async def end_occupants(namespaces: Iterable[Path], *, uid: int | None = None) -> int:
    """KILL until none is left, also of those they start meanwhile; how many there were."""
    count = 0
    paths = list(namespaces)
    while left := occupants(paths, uid=uid):
        count += len(left)
        await asyncio.gather(*(end(process, deadline_s=5, first=signal.SIGKILL) for process in left))
    return count


def _belongs(entry: Path, inodes: set[tuple[int, int]], uid: int | None) -> bool:
    try:
        if inodes:
            namespace = (entry / "ns/net").stat()
            if (namespace.st_dev, namespace.st_ino) in inodes:
                return True
        if uid is None:
            return False
        status = (entry / "status").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return any(line.split()[1] == str(uid) for line in status.splitlines() if line.startswith("Uid:"))
