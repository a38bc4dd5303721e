"""Another process's memory: which pages are its own, read out, filled in, and mapped from a file.

All of it needs CAP_SYS_PTRACE, and a process that stands still meanwhile.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import re
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oriel.model.errors import HostError

__all__ = ["PAGE", "Region", "Runs"]

PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 1 << 20
ENTRY = 8  # bytes of /proc/PID/pagemap for one page
ZERO = bytes(PAGE)

# The top byte of a pagemap entry (admin-guide/mm/pagemap.rst): a page is the process's own if it is present
# (bit 63) or swapped (62) and does not belong to a file (61). A copy of a privately mapped file's page is.
_OWN = bytes(int(bool(top & 0xC0) and not top & 0x20) for top in range(256))
_ONES = re.compile(rb"\x01+")


class Runs:
    """Runs of pages, `(first, count)` in rising order."""

    def __init__(self, items: list[tuple[int, int]] | None = None) -> None:
        self.items = items if items is not None else []

    @property
    def pages(self) -> int:
        return sum(count for _, count in self.items)

    def add(self, first: int, count: int) -> None:
        """One more run at the end; joined with the last if it follows it."""
        if self.items and sum(self.items[-1]) == first:
            first, count = self.items[-1][0], self.items[-1][1] + count
            self.items.pop()
        self.items.append((first, count))

    def to_bytes(self) -> bytes:
        return array.array("Q", [number for item in self.items for number in item]).tobytes()

    @staticmethod
    def from_bytes(data: bytes) -> Runs:
        """Raises ValueError for what `to_bytes` cannot have made."""
        numbers = array.array("Q")
        numbers.frombytes(data)
        runs, end = list(zip(numbers[::2], numbers[1::2], strict=True)), 0
        for first, count in runs:
            if first < end or not count:
                raise ValueError("runs of pages overlap or are empty")
            end = first + count
        return Runs(runs)


@dataclass(frozen=True)
class Region:
    """`size` bytes at `address` of the process `pid`, which are those from `at` on in a file of saved memory.

    All are multiples of PAGE; pages are counted as in the file.
    """

    pid: int
    address: int
    size: int
    at: int = 0

    def own(self) -> Runs:
        """The pages that only this process has: not those it still shares with a file it has mapped."""
        with Path(f"/proc/{self.pid}/pagemap").open("rb", buffering=0) as pagemap:
            pagemap.seek(self.address // PAGE * ENTRY)
            entries = b"".join(_read_exactly(pagemap.fileno(), self.size // PAGE * ENTRY))
        flags = entries[ENTRY - 1 :: ENTRY].translate(_OWN)
        first = self.at // PAGE
        return Runs([(first + found.start(), len(found.group())) for found in _ONES.finditer(flags)])

    def save(self, runs: Runs, target: int, *, skip_zero: bool) -> Runs:
        """Write the pages of `runs` to the open file `target`, each at its own offset; what was written.
        The file reaches to the region's end then.

        `skip_zero`: pages of nothing but zeros are left out, as holes.
        """
        kept = Runs()
        buffer = bytearray(CHUNK)
        with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as memory:
            for offset, length in _chunks(runs):
                view = memoryview(buffer)[:length]
                if os.preadv(memory.fileno(), [view], self.address + offset - self.at) != length:
                    raise HostError(f"the memory of process {self.pid} cannot be read")
                for start, end in _filled(view) if skip_zero else [(0, length)]:
                    os.pwrite(target, view[start:end], offset + start)
                    kept.add((offset + start) // PAGE, (end - start) // PAGE)
        os.ftruncate(target, max(self.at + self.size, os.fstat(target).st_size))
        return kept

    def load(self, runs: Runs, source: int) -> None:
        """Fill the pages of `runs` from the open file `source`."""
        buffer = bytearray(CHUNK)
        with Path(f"/proc/{self.pid}/mem").open("r+b", buffering=0) as memory:
            for offset, length in _chunks(runs):
                view = memoryview(buffer)[:length]
                beyond = offset + length > self.at + self.size
                if beyond or os.preadv(source, [view], offset) != length:
                    raise HostError("a file of saved memory is shorter than its list of pages says")
                if os.pwritev(memory.fileno(), [view], self.address + offset - self.at) != length:
                    raise HostError(f"the memory of process {self.pid} cannot be written")

    def map_privately(self, fd: int) -> None:
        """Have the process map its descriptor `fd` here, copy on write, in the place of what is there.

        The process is stopped by ptrace and made to call mmap itself. Raises HostError if it cannot be
        traced, or the kernel refuses. Must be called, as all of ptrace, from one thread.
        """
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE
        with _Traced(self.pid) as traced:
            result = traced.call(SYS_MMAP, self.address, self.size, protection, flags, fd, 0)
        if result != self.address:
            raise HostError(f"process {self.pid} could not map its memory: {os.strerror(-result)}")


def _read_exactly(fd: int, size: int) -> Iterator[bytes]:
    while size:
        data = os.read(fd, min(size, CHUNK))
        if not data:
            raise HostError("the process has ended")
        size -= len(data)
        yield data


def _chunks(runs: Runs) -> Iterator[tuple[int, int]]:
    """(offset, length) in bytes, at most CHUNK each."""
    for first, count in runs.items:
        end = (first + count) * PAGE
        for offset in range(first * PAGE, end, CHUNK):
            yield offset, min(CHUNK, end - offset)


def _filled(view: memoryview) -> Iterator[tuple[int, int]]:
    """Where in `view` pages are not all zeros, neighbours joined."""
    begin = None
    for offset in range(0, len(view), PAGE):
        if view[offset : offset + PAGE] != ZERO:
            begin = offset if begin is None else begin
        elif begin is not None:
            yield begin, offset
            begin = None
    if begin is not None:
        yield begin, len(view)


# --- ptrace(2), x86-64: <sys/ptrace.h>, <sys/user.h>, <asm/unistd_64.h>, <asm-generic/mman-common.h>
SYS_MMAP = 9
MAP_FIXED, MAP_NORESERVE = 0x10, 0x4000
SEIZE, INTERRUPT, DETACH, SINGLESTEP, GETREGS, SETREGS = 0x4206, 0x4207, 17, 9, 12, 13
REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)  # fmt: skip
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
LAYOUT = struct.Struct(f"{len(REGISTERS)}Q")
SYSCALL = b"\x0f\x05"  # the instruction
NO_SYSCALL = (1 << 64) - 1  # in orig_rax: nothing is to be restarted
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Traced:
    """A process whose first thread stands still and makes system calls for us; it goes on afterwards."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> _Traced:
        self._ask(SEIZE, 0, 0)
        try:
            self._ask(INTERRUPT, 0, 0)
            self._wait()
        except BaseException:
            self._ask(DETACH, 0, 0)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ask(DETACH, 0, 0)

    def call(self, number: int, *arguments: int) -> int:
        """The result of one system call; a negative errno if it failed."""
        before = self._registers()
        changed = dict(zip(REGISTERS, before, strict=True))
        changed |= zip(ARGUMENTS, arguments, strict=True)
        changed |= {"rax": number, "orig_rax": NO_SYSCALL, "rip": self._instruction()}
        self._set(tuple(changed.values()))
        try:
            self._ask(SINGLESTEP, 0, 0)
            self._wait()
            result = dict(zip(REGISTERS, self._registers(), strict=True))["rax"]
        finally:
            self._set(before)
        return result - (1 << 64) if result >> 63 else result

    def _instruction(self) -> int:
        """Where a system call instruction stands: the kernel's own page in every process has one."""
        for line in Path(f"/proc/{self._pid}/maps").read_text().splitlines():
            if line.endswith("[vdso]"):
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                with Path(f"/proc/{self._pid}/mem").open("rb", buffering=0) as memory:
                    found = os.pread(memory.fileno(), end - start, start).find(SYSCALL)
                if found >= 0:
                    return start + found
        raise HostError(f"process {self._pid} has no place to call the kernel from")

    def _registers(self) -> tuple[int, ...]:
        buffer = ctypes.create_string_buffer(LAYOUT.size)
        self._ask(GETREGS, 0, ctypes.addressof(buffer))
        return LAYOUT.unpack(buffer.raw)

    def _set(self, values: tuple[int, ...]) -> None:
        buffer = ctypes.create_string_buffer(LAYOUT.pack(*values), LAYOUT.size)
        self._ask(SETREGS, 0, ctypes.addressof(buffer))

    def _wait(self) -> None:
        _, status = os.waitpid(self._pid, WALL)
        if not os.WIFSTOPPED(status):
            raise HostError(f"process {self._pid} ended while it was traced")
        if os.WSTOPSIG(status) not in (signal.SIGTRAP, signal.SIGSTOP):
            raise HostError(f"process {self._pid} was stopped by signal {os.WSTOPSIG(status)}")

    def _ask(self, request: int, address: int, data: int) -> None:
        if _libc.ptrace(request, self._pid, address, data) < 0:
            reason = os.strerror(ctypes.get_errno())
            raise HostError(
                f"process {self._pid} cannot be traced: {reason}", hint="be root, with CAP_SYS_PTRACE"
            )
