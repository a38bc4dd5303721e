"""Starting a machine's process: into its control group, its output to the console, until it is up."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from oriel.host import process
from oriel.host.cgroups import Cgroup
from oriel.machine.console import Console
from oriel.machine.driver import MachineSpec
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import LaunchError, UnavailableError

__all__ = ["console_of", "launch"]

DEADLINE_S = 30

Child: TypeAlias = "subprocess.Popen[bytes]"
Spawning = Callable[[], Child]


def console_of(spec: MachineSpec) -> Console:
    return Console(spec.directory / "console", spec.console)


async def launch(
    argv: Sequence[str | Path],
    *,
    spec: MachineSpec,
    cgroup: Cgroup,
    up: Callable[[], Coroutine[Any, Any, None]],
    explain: Callable[[int | None], str],
    at_end: Callable[[], None] = lambda: None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    within: Callable[[Spawning], Child] = lambda spawning: spawning(),
) -> TrackedProcess:
    """Start `argv` as a member of `cgroup` and return once `up()` does, at most 30 s later.

    `at_end` runs once the machine has ended, before it is explained. `within` does the spawning itself,
    from a thread that stands in a namespace. Raises LaunchError with
    the command and the console's tail. Then, and when cancelled, nothing of it runs.
    """
    command = cgroup.command(argv)
    console = console_of(spec)
    console.open()

    def close() -> None:
        console.close()
        at_end()

    try:
        with console.writer() as output:
            child = within(lambda: process.spawn(command, log=output, env=env, pass_fds=pass_fds))
        try:
            tracked = TrackedProcess.of_child(child, explain=explain, at_end=close)
            await tracked.until(up(), deadline_s=DEADLINE_S)
        except BaseException:
            child.kill()  # it may not have joined its group yet
            child.wait()
            await cgroup.kill()
            raise
    except (LaunchError, UnavailableError) as error:
        console.close()
        # How it ended by itself says more than that it was not up.
        why = error.message if child.returncode == -signal.SIGKILL else explain(child.returncode)
        said = process.tail(spec.console)
        raise LaunchError(f"{why}: {process.paste(argv)}\n{said}") from error
    except BaseException:
        console.close()
        raise
    return tracked
