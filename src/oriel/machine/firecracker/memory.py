"""What a machine that began at a moment has of its own, taken and given from outside.

Firecracker itself would write such a machine's memory as a whole, or what it tracked since, which is half of
a moment. The kernel knows what differs from the mapped file (host/memory.py). What the balloon gave back is
neither the file's nor there: it is free in the guest, which asks nothing of what it holds then, so it may be
what the file has again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oriel.host.memory import PAGE, Region, Runs
from oriel.machine.driver import Moment
from oriel.model.errors import HostError

__all__ = ["Block", "blocks_in", "fill", "mapped", "save_own"]

Block = tuple[int, int, int]  # address in the process, offset in the file of its memory, bytes


def mapped(pid: int, file: Path) -> list[Block]:
    """Where the process has mapped `file` for its guest: one block, or one on each side of the devices' gap.

    To be asked before the guest runs, while nothing has been given back. HostError if it has not.
    """
    status, found = file.stat(), []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, rights, offset, _device, inode = line.split()[:5]
        if int(inode) == status.st_ino and rights.startswith("rw"):
            start, end = (int(part, 16) for part in addresses.split("-"))
            found.append((start, int(offset, 16), end - start))
    if sum(size for _, _, size in found) != status.st_size:
        raise HostError(f"process {pid} has not mapped the whole of {file}")
    return found


def blocks_in(record: Mapping[str, Any]) -> list[Block]:
    """Those a journal remembers; none of a machine that was booted."""
    return [(int(address), int(at), int(size)) for address, at, size in record.get("memory", [])]


def save_own(pid: int, blocks: Sequence[Block], moment: Moment) -> None:
    """Write the pages that are the machine's own, and which these are; the others are in its base."""
    target = os.open(moment.memory, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    kept = Runs()
    try:
        for address, at, size in blocks:
            region = Region(pid, address, size, at)
            for first, count in region.save(region.own(), target, skip_zero=False).items:
                kept.add(first, count)
        os.fsync(target)
    finally:
        os.close(target)
    with moment.pages.open("wb") as file:
        file.write(kept.to_bytes())
        file.flush()
        os.fsync(file.fileno())


def fill(pid: int, blocks: Sequence[Block], moment: Moment) -> None:
    """Give a machine that was just loaded over `moment.base`, and has not run, the moment's own pages.

    What Firecracker wrote while it loaded (the generation's number, for the guest to find) stays. Raises
    HostError.
    """
    try:
        runs = Runs.from_bytes(moment.pages.read_bytes())
    except ValueError as error:
        raise HostError(f"{moment.pages} is damaged: {error}") from error
    with moment.memory.open("rb") as memory, moment.base.open("rb") as base:
        for address, at, size in blocks:
            region = Region(pid, address, size, at)
            written = _written(region, base.fileno())
            region.load(_within(runs, at // PAGE, (at + size) // PAGE), memory.fileno())
            with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as process:
                for place, byte in written:
                    os.pwrite(process.fileno(), bytes((byte,)), place)


def _written(region: Region, base: int) -> list[tuple[int, int]]:
    """(address, byte) where the process differs from the file it has mapped."""
    found = []
    with Path(f"/proc/{region.pid}/mem").open("rb", buffering=0) as process:
        for first, count in region.own().items:
            for page in range(first, first + count):
                place = region.address + page * PAGE - region.at
                ours, theirs = os.pread(process.fileno(), PAGE, place), os.pread(base, PAGE, page * PAGE)
                found += [(place + n, ours[n]) for n in range(PAGE) if ours[n] != theirs[n]]
    return found


def _within(runs: Runs, low: int, high: int) -> Runs:
    """The parts of the runs between two pages."""
    cut = [(max(first, low), min(first + count, high)) for first, count in runs.items]
    return Runs([(first, end - first) for first, end in cut if first < end])
