"""What processes take of a host: memory in proportion to how many share it, and processor time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "usage_of"]

TICKS = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """`pss_kib`: a page that n processes map counts 1/n. `private_kib`: pages nobody else maps."""

    pss_kib: int = 0
    private_kib: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            pss_kib=self.pss_kib + other.pss_kib, private_kib=self.private_kib + other.private_kib,
            cpu_s=self.cpu_s + other.cpu_s,
        )  # fmt: skip


def usage_of(pids: Iterable[int]) -> Usage:
    """The sum over processes; one that has gone meanwhile took nothing. Needs to be root."""
    total = Usage()
    for pid in pids:
        try:
            total += _one(Path(f"/proc/{pid}"))
        except GONE:
            continue
    return total


def _one(process: Path) -> Usage:
    sizes: dict[str, int] = {}
    for line in (process / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0])
    # After the name in parentheses: utime and stime are the 12th and 13th (proc_pid_stat(5)).
    times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    private = sizes.get("Private_Dirty", 0) + sizes.get("Private_Clean", 0)
    return Usage(pss_kib=sizes.get("Pss", 0), private_kib=private, cpu_s=sum(map(int, times)) / TICKS)
