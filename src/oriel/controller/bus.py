"""Events as they happen, to whoever listens now. A listener that does not keep up is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from oriel.model.events import Event

__all__ = ["Bus", "Subscription"]

BACKLOG = 2000  # events a listener may lag behind before it must come again and have them replayed


@dataclass(eq=False)
class Subscription:
    """What one listener has not taken yet. Iterating ends when it lagged too far, or the bus closed."""

    desktop: str | None
    owner_id: str | None
    also: Collection[str]
    _queue: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(BACKLOG + 1))
    _over: bool = False

    def offer(self, owner_id: str, event: Event) -> None:
        if self._over or (self.desktop is not None and event.desktop != self.desktop):
            return
        if self.owner_id is not None and owner_id != self.owner_id and event.desktop not in self.also:
            return
        if self._queue.qsize() >= BACKLOG:
            self.end()
        else:
            self._queue.put_nowait(event)

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._queue.put_nowait(None)

    async def next(self, timeout_s: float) -> Event | None:
        """The next event; None at the end. TimeoutError if nothing happens within `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class Bus:
    """Published to by the database after each commit, in the order of `seq`."""

    def __init__(self) -> None:
        self.closed = False
        self._subscriptions: set[Subscription] = set()

    @property
    def listeners(self) -> int:
        return len(self._subscriptions)

    def publish(self, events: list[tuple[str, Event]]) -> None:
        for owner_id, event in events:
            for subscription in self._subscriptions:
                subscription.offer(owner_id, event)

    @contextmanager
    def subscribe(
        self, *, desktop: str | None = None, owner_id: str | None = None, also: Collection[str] = ()
    ) -> Iterator[Subscription]:
        """Events of one desktop, of one owner's desktops and those in `also`, or all, from now on."""
        subscription = Subscription(desktop, owner_id, also)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription."""
        self.closed = True
        for subscription in list(self._subscriptions):
            subscription.end()
