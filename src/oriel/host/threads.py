"""Threads for what an event loop cannot do itself: blocking work, and work inside another namespace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["DedicatedThread", "in_thread"]

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread and wait for its end, also when cancelled.

    So clean-up that follows a cancellation never runs beside what it cleans up.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


class DedicatedThread:
    """A thread that has entered something only threads enter (a namespace), and works there on request."""

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._entered: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(enter,), name=name, daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, name: str, enter: Callable[[], None]) -> DedicatedThread:
        """Start it and run `enter` in it. Raises what `enter` raises; then the thread has ended.

        When cancelled, the thread ends once `enter` is done.
        """
        thread = cls(name, enter)
        try:
            await asyncio.wrap_future(thread._entered)
        except BaseException:
            thread._jobs.put(None)
            raise
        return thread

    def _work(self, enter: Callable[[], None]) -> None:
        if not self._entered.set_running_or_notify_cancel():
            return
        _settle(self._entered, enter)
        if self._entered.exception() is None:
            while (job := self._jobs.get()) is not None:
                job()

    def _ask(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                _settle(future, function)

        self._jobs.put(job)
        return future

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function there; its result or exception. When cancelled, a running function goes on."""
        return await asyncio.wrap_future(self._ask(function))

    def call_now(self, function: Callable[[], T]) -> T:
        """As `call`, for something so short that the event loop may wait: it cannot be cancelled half way."""
        return self._ask(function).result()

    def close(self) -> None:
        """End the thread after what was asked before; idempotent."""
        self._jobs.put(None)
        self._thread.join()


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # handed to whoever waits for it
        future.set_exception(error)
