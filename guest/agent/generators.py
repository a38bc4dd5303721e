"""Random number generators that programs hold, told to begin anew in a machine that begins at a kept moment.

A library that seeds itself once from the kernel draws the same in every machine that begins at one moment:
BoringSSL, and with it everything of Chrome. Against forks such libraries keep a page that the kernel empties
in the child (madvise(2), MADV_WIPEONFORK) and seed anew when they find it empty (BoringSSL,
crypto/fipsmodule/rand/fork_detect.cc). A moment is a fork of the whole machine, so we empty it too.

Finding these pages means reading /proc/PID/smaps, for which the kernel walks all of a process's memory: for
every process a second of an emulated processor. So they are looked for before a moment is kept, and the list
is kept with it, in this process; and a process whose mappings (/proc/PID/maps, which costs little) are as
they were is not looked at again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finder", "Page", "empty", "parse"]

PROC = Path("/proc")
# "7fd7831ad000-7fd7831ae000 rw-p …" begins a mapping, "VmFlags: rd wr mr mw me ac wf sd" ends it
# (proc_pid_smaps(5)).
_LINE = re.compile(rb"^(?:([0-9a-f]+)-([0-9a-f]+) [rwxps-]{4} |VmFlags:.* (wf)\b)", re.MULTILINE)
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Page:
    """Memory of one process that is to be empty after a fork."""

    pid: int
    start: int
    size: int


def parse(pid: int, smaps: bytes) -> Iterator[Page]:
    """The pages that /proc/PID/smaps tells of."""
    start = end = 0
    for line in _LINE.finditer(smaps):
        if line[3]:
            yield Page(pid, start, end - start)
        else:
            start, end = int(line[1], 16), int(line[2], 16)


class Finder:
    """Finds them, and remembers per process what it saw of which mappings."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._known: dict[int, tuple[bytes, list[Page]]] = {}

    def find(self) -> list[Page]:
        """Those of every process that runs now. OSError if the kernel does not show them."""
        known, self._known = self._known, {}
        for directory in self._proc.iterdir():
            if directory.name.isdecimal():
                pid = int(directory.name)
                with contextlib.suppress(*GONE):
                    self._known[pid] = self._look(pid, directory, known.get(pid))
        return [page for _, pages in self._known.values() for page in pages]

    @staticmethod
    def _look(pid: int, process: Path, before: tuple[bytes, list[Page]] | None) -> tuple[bytes, list[Page]]:
        maps = (process / "maps").read_bytes()
        mark = hashlib.blake2b(maps, digest_size=16).digest()
        if before is not None and before[0] == mark:
            return before
        return mark, list(parse(pid, (process / "smaps").read_bytes())) if maps else []


def empty(pages: Iterable[Page], proc: Path = PROC) -> None:
    """Empty them. What has gone since is passed over; OSError if the kernel refuses another."""
    for page in pages:
        try:
            with (proc / str(page.pid) / "mem").open("r+b", buffering=0) as memory:
                memory.seek(page.start)
                memory.write(bytes(page.size))
        except GONE:
            continue
        except OSError as error:
            if error.errno != errno.EIO:  # nothing is mapped there any more (proc_pid_mem(5))
                raise
