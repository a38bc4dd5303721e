"""The processes of one session (setsid), found and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

__all__ = ["end_session", "members", "signal_group"]


def members(session: int) -> list[int]:
    """The living processes of a session. A shell with job control has several process groups in it."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # proc(5): after the command's last parenthesis come state, ppid, pgrp, session.
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def signal_group(leader: int, number: int) -> None:
    """To the process group of the session's leader; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


async def end_session(session: int, *, first: int = signal.SIGHUP, grace_s: float = 2) -> None:
    """Send `first` to everyone in the session, and KILL to those alive after `grace_s`."""
    deadline = time.monotonic() + grace_s
    pids = members(session)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, first)
            os.kill(pid, signal.SIGCONT)  # a stopped one would never see it
    for pid in pids:
        await _ended(pid, deadline)
    # Whoever was forked meanwhile is found by looking again; each round can only leave fewer.
    while pids := members(session):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            await _ended(pid, time.monotonic() + 5)


async def _ended(pid: int, deadline: float) -> bool:
    """Whether a process has ended by `deadline` (monotonic), known by its pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
        os.close(fd)
