"""A thread that does blocking work in order, so that the event loop never does."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from oriel.model.errors import UnavailableError

__all__ = ["Worker"]

T = TypeVar("T")


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Worker:
    """One daemon thread, started with its first job. A job that hangs holds neither loop nor exit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T], *, deadline_s: float = 30) -> T:
        """`work()` in the thread, with its result or error. UnavailableError after `deadline_s`:
        then it is dropped if it had not begun, and its result ignored if it had."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return  # its caller gave up while it waited: doing it now would be a surprise
            try:
                outcome: tuple[Any, Exception | None] = (work(), None)
            except Exception as error:  # handed to the one who asked
                outcome = (None, error)
            loop.call_soon_threadsafe(_settle, future, *outcome)

        self.post(job)
        try:
            async with asyncio.timeout(deadline_s):
                return await future
        except TimeoutError as error:
            raise UnavailableError(
                f"the desktop's {self._name} did not answer within {deadline_s:g} s",
                hint="the desktop may be overloaded; its services restart by themselves if they died",
            ) from error

    def post(self, work: Callable[[], None]) -> None:
        """Have `work`, which must not raise, done in the thread; from any thread, without waiting."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.append(work)
        os.eventfd_write(self._wake, 1)

    def _live(self) -> None:
        while True:
            while self._jobs:
                self._jobs.popleft()()
            self.idle(self._wake)
            try:
                os.eventfd_read(self._wake)
            except BlockingIOError:
                continue

    def idle(self, wake: int) -> None:
        """Return once `wake` is readable; a subclass may do other work meanwhile."""
        select.select([wake], [], [])
