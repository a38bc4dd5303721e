"""Keeping a process running: started again whenever it ends, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oriel.host.process import BASE_ENVIRONMENT, ProcessId, end

__all__ = ["Part"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
STEADY_S = 60.0  # a process that lived this long starts its pauses anew
STOP_DEADLINE_S = 15.0


@dataclass(kw_only=True)
class Part:
    """A process that is kept running, with its output appended to `log`."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # added to the base environment
    pass_fds: tuple[int, ...] = ()
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    first_end: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # it has ended at least once

    async def keep(self, stopping: asyncio.Event) -> None:
        """Start it, and again whenever it ends, until `stopping`. Quick deaths are spaced out."""
        pause = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not stopping.is_set():
            began = loop.time()
            code = await self._run_once()
            self.first_end.set()
            if stopping.is_set():
                return
            if loop.time() - began > STEADY_S:
                pause = FIRST_PAUSE_S
            said = f"{self.name} ended with code {code}; back in {pause:g} s (its log: {self.log})"
            print(said, file=sys.stderr, flush=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stopping.wait()
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _run_once(self) -> int:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=BASE_ENVIRONMENT | dict(self.env),
                cwd="/",
                pass_fds=self.pass_fds,
                # Ctrl-C reaches the whole foreground group: it is the supervisor's to pass on, in order.
                start_new_session=True,
            )
        return await self.process.wait()

    async def stop(self) -> None:
        """TERM, and KILL after its deadline; nothing if it does not run."""
        if self.process is None or self.process.returncode is not None:
            return
        identity = ProcessId.of(self.process.pid)
        if identity is not None:
            await end(identity, deadline_s=STOP_DEADLINE_S)
