"""The process of a machine on this host: started by us, or adopted from a record."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from oriel.host.process import ProcessId, wait_gone
from oriel.machine.driver import Exit
from oriel.model.errors import LaunchError

__all__ = ["TrackedProcess"]

T = TypeVar("T")


class TrackedProcess:
    """A process that cannot be confused with a later one of the same number, and how it ended.

    `explain` puts an exit code (None: not our child) into words. `at_end` runs once, before the first
    `wait` returns.
    """

    def __init__(
        self,
        identity: ProcessId,
        *,
        child: subprocess.Popen[bytes] | None = None,
        explain: Callable[[int | None], str],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.identity = identity
        self._child = child
        self._explain = explain
        self._at_end = at_end
        self._exit: Exit | None = None

    @staticmethod
    def of_child(
        child: subprocess.Popen[bytes],
        *,
        explain: Callable[[int | None], str],
        at_end: Callable[[], None] = lambda: None,
    ) -> TrackedProcess:
        """Track a child just spawned. Raises LaunchError if it has ended already."""
        identity = ProcessId.of(child.pid)
        if identity is None:
            raise LaunchError(explain(child.wait()))
        return TrackedProcess(identity, child=child, explain=explain, at_end=at_end)

    @property
    def record(self) -> dict[str, Any]:
        return {"pid": self.identity.pid, "started": self.identity.started}

    @staticmethod
    def identity_in(record: Mapping[str, Any]) -> ProcessId | None:
        """The living process a record names; None if it is gone, another, or the record is torn."""
        pid, started = record.get("pid"), record.get("started")
        if not isinstance(pid, int) or not isinstance(started, int):
            return None
        identity = ProcessId(pid, started)
        return identity if identity.alive else None

    async def until(self, event: Coroutine[Any, Any, T], *, deadline_s: float) -> T:
        """The result of `event`; LaunchError if the process ends first, or nothing happens in time."""
        happening, ending = asyncio.ensure_future(event), asyncio.ensure_future(self.wait())
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.wait({happening, ending}, return_when=asyncio.FIRST_COMPLETED)
            if happening.done():
                return happening.result()
            raise LaunchError(ending.result().detail)
        except TimeoutError as error:
            raise LaunchError(f"it was not up within {deadline_s:g} s") from error
        finally:
            happening.cancel()
            ending.cancel()
            await asyncio.gather(happening, ending, return_exceptions=True)

    async def wait(self) -> Exit:
        """Until it has ended; any number of tasks may wait."""
        await wait_gone(self.identity)
        if self._exit is None:
            code = self._child.wait() if self._child is not None else None
            self._at_end()
            self._exit = Exit(code, self._explain(code))
        return self._exit
