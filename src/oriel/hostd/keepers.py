"""The keepers of a home: started, watched by pidfd, started again when they die, never ended with us."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import oriel
from oriel.host import systemd
from oriel.host.layout import Home
from oriel.host.process import ProcessId, end, spawn, tail, wait_gone
from oriel.host.records import read_process
from oriel.keeper.journal import read_ledger
from oriel.model.errors import LaunchError, OrielError

__all__ = ["KEEPER", "KeeperProcess", "Keepers", "launch_keeper"]

KEEPER = ("-P", "-m", "oriel.keeper")
UNIT_OF_DESKTOPS = "oriel-desktops.service"  # stops them in order when the host shuts down
READY_DEADLINE_S = 60.0  # what a dead keeper had begun may have to be undone first
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
STEADY_S = 60.0  # a keeper that lived this long starts its pauses anew
_LOG = logging.getLogger(__name__)


def launch_keeper(
    home: Home, desktop_id: str, program: Sequence[str], ready_fd: int
) -> subprocess.Popen[bytes]:
    """Start one keeper in a session of its own, under systemd in a scope of its own: so it outlives us."""
    options: list[str | Path] = ["--home", home.root, "--images", home.images, "--ready-fd", str(ready_fd)]
    argv: list[str | Path] = [sys.executable, *program, *options, desktop_id]
    if systemd.is_booted():
        argv = systemd.in_scope(argv, f"oriel-keeper-{desktop_id}", before=UNIT_OF_DESKTOPS)
    return spawn(
        argv,
        log=home.desktop(desktop_id).keeper_log,
        env={"PYTHONPATH": os.environ.get("PYTHONPATH") or str(Path(oriel.__file__).parents[1])},
        pass_fds=[ready_fd],
    )


@dataclass
class KeeperProcess:
    """One desktop's keeper. `process` is None until it has started, and changes when it starts again."""

    process: ProcessId | None = None
    child: subprocess.Popen[bytes] | None = None  # None: it was started by a hostd before us
    since: float = field(default_factory=time.monotonic)
    watch: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    async def gone(self) -> int | None:
        """Until it has ended; its exit code if it was our child."""
        if self.process is not None:
            await wait_gone(self.process)
        return self.child.wait() if self.child is not None else None

    async def end(self, *, deadline_s: float) -> None:
        """TERM, and KILL after `deadline_s`. Its machine is not touched by this."""
        if self.process is not None:
            await end(self.process, deadline_s=deadline_s)
        await self.gone()


class Keepers:
    """Which keepers live. `on_deleted` is called for a desktop whose keeper ended after a `delete`."""

    on_deleted: Callable[[str], Awaitable[None]]

    def __init__(self, home: Home, group: asyncio.TaskGroup, program: Sequence[str] = KEEPER) -> None:
        self._home = home
        self._group = group
        self._program = program
        self._keepers: dict[str, KeeperProcess] = {}

    def process(self, desktop_id: str) -> ProcessId | None:
        """The living keeper of a desktop, if it has one."""
        keeper = self._keepers.get(desktop_id)
        return keeper.process if keeper is not None and keeper.alive else None

    async def launch(self, desktop_id: str) -> None:
        """Start a keeper and watch it from now on; returns once it answers.

        Raises its own error, or LaunchError with the tail of its log; then it has ended and nobody
        watches.
        """
        keeper = KeeperProcess()
        await self._start(desktop_id, keeper)
        self._watch(desktop_id, keeper)

    def discover(self, desktop_id: str) -> None:
        """Watch the keeper that lives already; one that does not is started in the background."""
        recorded = read_process(self._home.desktop(desktop_id).keeper_record)
        self._watch(desktop_id, KeeperProcess(recorded if recorded and recorded.alive else None))

    async def forget(self, desktop_id: str) -> KeeperProcess:
        """Watch no more: whatever happens to this keeper from now on is wanted."""
        keeper = self._keepers.pop(desktop_id, None) or KeeperProcess()
        if keeper.watch is not None:
            keeper.watch.cancel()
            await asyncio.wait([keeper.watch])
        return keeper

    async def leave(self) -> None:
        """Watch none of them any more; they live on."""
        for desktop_id in list(self._keepers):
            await self.forget(desktop_id)

    def _watch(self, desktop_id: str, keeper: KeeperProcess) -> None:
        self._keepers[desktop_id] = keeper
        keeper.watch = self._group.create_task(self._keep(desktop_id, keeper), name=f"watch {desktop_id}")

    async def _keep(self, desktop_id: str, keeper: KeeperProcess) -> None:
        pause = 0.0
        while True:
            if keeper.process is not None:
                code = await keeper.gone()
                keeper.process = keeper.child = None
                _LOG.warning("the keeper of %s ended with code %s", desktop_id, code)
                pause = FIRST_PAUSE_S if time.monotonic() - keeper.since > STEADY_S else pause
            if await asyncio.to_thread(self._was_deleted, desktop_id):
                self._keepers.pop(desktop_id, None)
                await self.on_deleted(desktop_id)
                return
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            try:
                await self._start(desktop_id, keeper)
                _LOG.info("the keeper of %s is back", desktop_id)
            except OrielError as error:
                _LOG.error("the keeper of %s does not start: %s", desktop_id, error)

    def _was_deleted(self, desktop_id: str) -> bool:
        paths = self._home.desktop(desktop_id)
        return not paths.root.exists() or read_ledger(paths.journal).gone

    async def _start(self, desktop_id: str, keeper: KeeperProcess) -> None:
        reading, writing = os.pipe()
        try:
            child = launch_keeper(self._home, desktop_id, self._program, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            await self._until_ready(desktop_id, reading)
        except BaseException:
            process = ProcessId.of(child.pid)
            if process is not None:
                await end(process, deadline_s=10)
            child.wait()
            raise
        keeper.process, keeper.child, keeper.since = ProcessId.of(child.pid), child, time.monotonic()

    async def _until_ready(self, desktop_id: str, reading: int) -> None:
        """Wait for the one line a keeper says on its pipe; the pipe also ends when it dies."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
        )
        log = self._home.desktop(desktop_id).keeper_log
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                line = await reader.readline()
        except TimeoutError as error:
            raise LaunchError(
                f"the keeper of {desktop_id} was not ready within {READY_DEADLINE_S:g} s\n{tail(log, 1000)}"
            ) from error
        finally:
            transport.close()
        if not line:
            raise LaunchError(f"the keeper of {desktop_id} ended before it was ready\n{tail(log, 2000)}")
        said = json.loads(line)
        if not said["ok"]:
            raise OrielError.from_wire(said["error"])
