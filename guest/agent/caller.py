"""Noticing that a caller has gone, even while there is unread data from it."""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Coroutine, Iterator
from typing import TypeVar

__all__ = ["hangup", "unless_gone"]

T = TypeVar("T")


@contextlib.contextmanager
def hangup(writer: asyncio.StreamWriter) -> Iterator[asyncio.Event]:
    """An event that is set once the caller has closed its side or the connection broke.

    asyncio tells of the end only after all data before it was read; the kernel tells at once
    (EPOLLRDHUP), and an epoll object can itself be watched by the event loop.
    """
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    sock = writer.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        gone.set()
        yield gone
        return
    with select.epoll() as poll:
        poll.register(sock.fileno(), select.EPOLLRDHUP)
        watch = poll.fileno()

        def noticed() -> None:
            loop.remove_reader(watch)
            gone.set()

        loop.add_reader(watch, noticed)
        try:
            yield gone
        finally:
            loop.remove_reader(watch)


async def unless_gone(writer: asyncio.StreamWriter, work: Coroutine[None, None, T]) -> T:
    """The result of `work`, which is cancelled if the caller goes; then ConnectionResetError."""
    with hangup(writer) as gone:
        task = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ConnectionResetError("the caller has gone")
        finally:
            task.cancel()
            leaving.cancel()
            await asyncio.gather(task, leaving, return_exceptions=True)
