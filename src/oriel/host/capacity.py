"""Which limits suit this host: from a measurement of half a second, and from what desktops take here now."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from oriel.host.cgroups import PARENT, Cgroup
from oriel.host.checks import Check
from oriel.host.layout import Home
from oriel.host.meters import load_average, memory_available_mib
from oriel.host.settings import Settings
from oriel.host.usage import usage_of

__all__ = ["Measured", "limits", "measure", "suggest"]

HASH_S = 0.1
BLOCK = bytes(1 << 20)
BULK_MIB, SYNCS = 16, 16
# Where no desktop runs to be measured: an idle one that began at a template, and what starting one costs
# (docs/performance.md), on a processor that hashes as many bytes a second.
TYPICAL_MIB = 300
USUAL_HASH_MIB_S = 400
SLOW_SYNC_MS = 20.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A host. `each_mib`: what a desktop here takes, if one runs (`desktops`)."""

    processors: int
    hash_mib_s: float  # by one processor
    load: float
    memory_mib: int
    memory_free_mib: int
    disk_free_mib: int
    write_mib_s: float
    sync_ms: float
    desktops: int = 0
    each_mib: float = 0.0


def limits(home: Home) -> list[Check]:
    """What was measured, and settings that go with it."""
    found = measure(home)
    told = (
        f"{found.processors} processors, each hashing {found.hash_mib_s:.0f} MiB/s, load {found.load:.1f}; "
        f"disk writes {found.write_mib_s:.0f} MiB/s, syncs in {found.sync_ms:.1f} ms"
    )
    if found.desktops:
        told += f"; {found.desktops} desktops take {found.each_mib:.0f} MiB each"
    settings = suggest(found)
    room = settings.pop("desktops")
    words = ", ".join(f"{name} = {value}" for name, value in settings.items())
    return [
        Check("capacity.measured", True, False, told),
        Check("capacity.limits", True, False, f"room for about {room} idle desktops; suggested: {words}"),
    ]


def measure(home: Home) -> Measured:
    """Takes half a second of one processor, and writes some MiB that are gone afterwards."""
    where = next(path for path in (home.root, *home.root.parents) if path.exists())
    disk = os.statvfs(where)
    write_mib_s, sync_ms = _disk(where)
    taken = [usage_of(Cgroup(name).processes()).pss_kib / 1024 for name in _machines()]
    return Measured(
        processors=os.cpu_count() or 1, hash_mib_s=_hash_mib_s(), load=load_average(),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        memory_free_mib=memory_available_mib(), disk_free_mib=disk.f_bavail * disk.f_frsize >> 20,
        write_mib_s=write_mib_s, sync_ms=sync_ms, desktops=len(taken),
        each_mib=sum(taken) / len(taken) if taken else 0.0,
    )  # fmt: skip


def suggest(found: Measured) -> dict[str, int]:
    """Settings by name, and under `desktops` how many idle ones there is room for in memory and on disk."""
    defaults = Settings()
    each = max(1.0, found.each_mib or TYPICAL_MIB)
    reserve = max(defaults.memory_reserve_mib, found.memory_mib // 16)
    room = max(0, int((found.memory_free_mib - reserve) / each)) + found.desktops
    room = min(room, max(0, found.disk_free_mib - defaults.disk_reserve_mib) // 256 + found.desktops)
    speed = found.processors * min(1.0, found.hash_mib_s / USUAL_HASH_MIB_S)
    starts = 1 if found.sync_ms > SLOW_SYNC_MS else max(1, round(speed))
    return {
        "desktops": room, "concurrent_starts": min(64, starts), "waiting_starts": max(8, starts * 16),
        "memory_reserve_mib": reserve, "pool_memory_mib": found.memory_mib // 8,
    }  # fmt: skip


def _hash_mib_s() -> float:
    hashed, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < HASH_S:
        hashlib.sha256(BLOCK).digest()
        hashed += 1
    return hashed / passed


def _disk(where: Path) -> tuple[float, float]:
    """MiB a second in bulk, and milliseconds for one block that is synced."""
    with tempfile.TemporaryFile(dir=where) as file:
        began = time.perf_counter()
        for _ in range(BULK_MIB):
            file.write(BLOCK)
        file.flush()
        os.fsync(file.fileno())
        bulk_s = time.perf_counter() - began
        began = time.perf_counter()
        for number in range(SYNCS):
            os.pwrite(file.fileno(), BLOCK[:4096], number * 4096)
            os.fdatasync(file.fileno())
        sync_s = (time.perf_counter() - began) / SYNCS
    return BULK_MIB / max(bulk_s, 1e-6), sync_s * 1000


def _machines() -> list[str]:
    """The desktops that have a control group here."""
    root = Cgroup("d-aaaaaaaaaa").directories[0].parent
    if root.name != PARENT or not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.name.startswith("d-") and entry.is_dir())
