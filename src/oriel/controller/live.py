"""Connections that are open now, and who may end them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from oriel.controller.rights import Principal
from oriel.model.errors import BusyError, NotFoundError, OrielError, UnavailableError

__all__ = ["Connection", "Live"]

MOST = 5000


@dataclass(eq=False)
class Connection:
    """One open WebSocket or event stream. `ended` is the reason once somebody ends it."""

    desktop: str
    kind: str
    principal: Principal
    mode: str
    ended: asyncio.Future[OrielError] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Live:
    """Everything that stays open registers here. `each`: how many one user may have, with their guests."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._open: set[Connection] = set()
        self._used: dict[str, float] = {}

    def touch(self, desktop: str) -> None:
        """Somebody has just used it."""
        self._used[desktop] = time.monotonic()

    def unused_s(self, desktop: str) -> float:
        """For how long nobody has looked at it or used it, as far as we know."""
        if any(one.desktop == desktop and one.kind != "events" for one in self._open):
            self.touch(desktop)
        return time.monotonic() - self._used.setdefault(desktop, time.monotonic())

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def count(self) -> Counter[str]:
        return Counter(connection.kind for connection in self._open)

    @contextmanager
    def register(self, connection: Connection) -> Iterator[Connection]:
        """BusyError beyond the limits."""
        self.check_room(connection.principal)
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)
            self.touch(connection.desktop)

    def check_room(self, principal: Principal) -> None:
        """BusyError if this one has too much open already."""
        user_id = principal.user_id
        mine = sum(1 for other in self._open if other.principal.user_id == user_id)
        if len(self._open) >= MOST or mine >= self._each:
            raise BusyError(
                "too many connections are open", retry_after_s=10, hint="close some viewers or terminals"
            )

    def end_desktop(self, desktop: str) -> None:
        """The desktop is going away. Its events go on: the last of them tells that it is gone."""
        self.end(
            lambda one: one.desktop == desktop and one.kind != "events", NotFoundError("the desktop is gone")
        )

    def close(self) -> None:
        """The controller stops; the desktops go on."""
        self.end(lambda _: True, UnavailableError("the controller restarts"))

    def end(self, chosen: Callable[[Connection], bool], why: OrielError) -> None:
        """Whatever is `chosen`, with the reason it is told."""
        for connection in list(self._open):
            if chosen(connection) and not connection.ended.done():
                connection.ended.set_result(why)
