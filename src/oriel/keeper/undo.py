"""The clean-up stack: what was made is unmade last in, first out, once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Problem", "UndoStack"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """One undo that failed: the step it belongs to, and why."""

    step: str
    detail: str


class UndoStack:
    """Undos of the steps done so far. An undo must be idempotent: its step may not have got far."""

    def __init__(self) -> None:
        self._undos: list[tuple[str, float, Callable[[], Awaitable[object]]]] = []

    def push(self, step: str, undo: Callable[[], Awaitable[object]], *, deadline_s: float = 15) -> None:
        """Register before the step begins, so that a step torn in the middle is undone too."""
        self._undos.append((step, deadline_s, undo))

    async def unwind(self) -> list[Problem]:
        """Run every undo, also when cancelled meanwhile; then raise the cancellation.

        A failing or late undo does not keep the others from running; each such problem is returned.
        """
        work = asyncio.ensure_future(self._unwind())
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return work.result()

    async def _unwind(self) -> list[Problem]:
        problems = []
        while self._undos:
            step, deadline_s, undo = self._undos.pop()
            try:
                async with asyncio.timeout(deadline_s):
                    await undo()
            except TimeoutError:
                problems.append(Problem(step, f"not undone within {deadline_s:g} s"))
            except Exception as error:
                _LOG.exception("undoing %s failed", step)
                problems.append(Problem(step, str(error)))
        return problems
