"""The clean-up stack: last in first out, once, all of it, whatever happens meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from oriel.keeper.undo import Problem, UndoStack
from oriel.model.errors import HostError


class Recorder:
    """Makes undos that write down that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stack = UndoStack()

    def push(
        self, name: str, *, error: Exception | None = None, pause_s: float = 0, deadline_s: float = 5
    ) -> None:
        async def undo() -> None:
            self.ran.append(name)
            await asyncio.sleep(pause_s)
            if error is not None:
                raise error
            self.ran.append(f"{name} done")

        self.stack.push(name, undo, deadline_s=deadline_s)


def test_last_in_first_out_and_once() -> None:
    recorder = Recorder()
    for name in ("link", "gateway", "machine"):
        recorder.push(name)
    assert asyncio.run(recorder.stack.unwind()) == []
    assert recorder.ran == ["machine", "machine done", "gateway", "gateway done", "link", "link done"]
    assert asyncio.run(recorder.stack.unwind()) == []
    assert len(recorder.ran) == 6


def test_a_failing_and_a_late_undo_are_reported_and_hold_nothing_up() -> None:
    recorder = Recorder()
    recorder.push("link")
    recorder.push("mounts", error=HostError("still mounted"))
    recorder.push("machine", pause_s=60, deadline_s=0.02)
    problems = asyncio.run(recorder.stack.unwind())
    assert problems == [Problem("machine", "not undone within 0.02 s"), Problem("mounts", "still mounted")]
    assert recorder.ran == ["machine", "mounts", "link", "link done"]


def test_it_goes_on_to_the_end_when_cancelled_and_then_says_so() -> None:
    recorder = Recorder()
    recorder.push("link")
    recorder.push("machine", pause_s=0.05)

    async def scenario() -> None:
        work = asyncio.create_task(recorder.stack.unwind())
        while not recorder.ran:
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(scenario())
    assert recorder.ran == ["machine", "machine done", "link", "link done"]
