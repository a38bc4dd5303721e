"""The one door for starting programs.

Argument lists only, an explicit environment, closed stdin. Never put a secret into `argv` or `env`:
hand it over on stdin or a descriptor. A failure carries a command that can be pasted, the exit code
and the tail of the output (the idea is mkosi's run.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel.model.errors import HostError, LaunchError

__all__ = [
    "BASE_ENVIRONMENT",
    "Completed",
    "ProcessId",
    "end",
    "in_netns",
    "paste",
    "run",
    "spawn",
    "tail",
    "wait_gone",
]

BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
TAIL_BYTES = 4000


@dataclass(frozen=True)
class Completed:
    """What `run` gives back; `code` is 0 unless `check` was off."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number.

    `started` is field 22 of /proc/PID/stat: clock ticks since boot (proc(5)).
    """

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> ProcessId | None:
        """The identity of a living process (a zombie counts as gone), None if there is none."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command name may contain spaces and parentheses: what follows the last one is regular.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else ProcessId(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Send a signal to just this process (by pidfd); False if it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(fd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)


def paste(argv: Sequence[str | Path]) -> str:
    """`argv` as one line that can be pasted into a shell."""
    return shlex.join(str(word) for word in argv)


def tail(path: Path, size: int = TAIL_BYTES) -> str:
    """The last `size` bytes of a log as text, "" if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - size))
            return log.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def in_netns(netns: Path, argv: Sequence[str | Path]) -> list[str | Path]:
    """`argv` run inside a network namespace."""
    return ["nsenter", f"--net={netns}", "--", *argv]


async def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    deadline_s: float = 60,
) -> Completed:
    """Run to the end. `env` is added to BASE_ENVIRONMENT, nothing is inherited.

    Raises HostError if the program is missing, LaunchError if it fails (with `check`) or is not done
    within `deadline_s`; then, and when cancelled, the process has been killed and reaped.
    """
    words = [str(word) for word in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=BASE_ENVIRONMENT | dict(env or {}),
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise HostError(
            f"{words[0]} is not installed", hint="`oriel doctor` lists the packages this host lacks"
        ) from error
    try:
        async with asyncio.timeout(deadline_s):
            stdout, stderr = await process.communicate(stdin)
    except TimeoutError as error:
        raise LaunchError(f"not done within {deadline_s:g} s: {paste(words)}") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None  # noqa: S101 - for mypy: communicate() has reaped it
    if check and process.returncode != 0:
        said = (stderr or stdout)[-TAIL_BYTES:].decode(errors="replace").strip()
        raise LaunchError(f"exit code {process.returncode}: {paste(words)}\n{said}")
    return Completed(process.returncode, stdout, stderr)


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path | int,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    uid: int | None = None,
    cwd: Path = Path("/"),
) -> subprocess.Popen[bytes]:
    """Start a program that may outlive us: own session, output to `log` (appended, or an open descriptor),
    stdin closed.

    `uid` (used as gid too) drops all privileges first. Raises HostError if the program is missing.
    The caller reaps it if it is still the parent when it ends.
    """
    words = [str(word) for word in argv]
    with log.open("ab") if isinstance(log, Path) else contextlib.nullcontext(log) as output:
        try:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=BASE_ENVIRONMENT | dict(env or {}),
                cwd=cwd,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
        except FileNotFoundError as error:
            raise HostError(
                f"{words[0]} is not installed", hint="`oriel doctor` lists the packages this host lacks"
            ) from error


async def wait_gone(process: ProcessId) -> None:
    """Until that process has ended (also as a zombie, child or not), by pidfd: no polling."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(fd, gone.set)
    try:
        # Opened first, compared after: the number cannot be recycled under an open pidfd.
        if process.alive:
            await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def end(process: ProcessId, *, deadline_s: float, first: int = signal.SIGTERM) -> bool:
    """The last rungs of the ladder: `first`, and after `deadline_s` KILL. True if KILL was needed."""
    if process.signal(first):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await wait_gone(process)
    if not process.alive:
        return False
    process.signal(signal.SIGKILL)
    await wait_gone(process)
    return True
