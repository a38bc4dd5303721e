"""Threads that have entered something: who gives up while one enters leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from oriel.host.threads import DedicatedThread


def thread_named(name: str) -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def test_given_up_while_it_enters_it_ends_by_itself() -> None:
    entering, go_on = threading.Event(), threading.Event()

    def enter() -> None:
        entering.set()
        go_on.wait(60)

    async def scenario() -> None:
        opening = asyncio.ensure_future(DedicatedThread.open("entering", enter))
        await asyncio.to_thread(entering.wait, 60)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(scenario())
    thread = thread_named("entering")
    assert thread is not None
    go_on.set()
    thread.join(60)
    assert not thread.is_alive()


def test_what_entering_raises_is_told_and_the_thread_ends() -> None:
    def refuse() -> None:
        raise PermissionError("not allowed")

    with pytest.raises(PermissionError, match="not allowed"):
        asyncio.run(DedicatedThread.open("refused", refuse))
    thread = thread_named("refused")
    if thread is not None:
        thread.join(60)
        assert not thread.is_alive()
