"""A test boot: a kernel started for no other purpose than to see whether it comes up here.

There are hosts whose /dev/kvm opens, makes a machine and a processor, and then never runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from subprocess import Popen

from oriel.host import process
from oriel.host.process import ProcessId

__all__ = ["KVM_DEVICE", "UNUSED_SLOT", "WORD", "heard", "started"]

KVM_DEVICE = Path("/dev/kvm")
WORD = b"oriel-probe-ok"  # what the image's initrd prints when it finds `oriel.probe=1`
UNUSED_SLOT = 0  # slots of desktops begin at 1


@contextlib.asynccontextmanager
async def started(spawn: Callable[[int], Popen[bytes]]) -> AsyncIterator[tuple[int, int]]:
    """What `spawn` starts on the descriptor it is given as its console: its pid, and the console to read.

    It is killed, and waited for, when the block ends.
    """
    console, writer = os.pipe()
    try:
        try:
            child = spawn(writer)
        finally:
            os.close(writer)
        try:
            yield child.pid, console
        finally:
            identity = ProcessId.of(child.pid)
            if identity is not None:
                await process.end(identity, deadline_s=1, first=signal.SIGKILL)
            child.wait()
    finally:
        os.close(console)


async def heard(
    console: int, *, deadline_s: float, silence_s: float | None = None
) -> AsyncGenerator[bytes, None]:
    """What it says, as it says it, and b"" if it ends. Stops after `deadline_s`, or after a silence."""
    clock = asyncio.get_running_loop().time
    ends = clock() + deadline_s
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(console), "rb", buffering=0)
    )
    try:
        while (left := ends - clock()) > 0:
            try:
                data = await asyncio.wait_for(reader.read(4096), min(left, silence_s or left))
            except TimeoutError:
                return
            yield data
            if not data:
                return
    finally:
        transport.close()
