"""Connections that are open now, and who may end them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from oriel.controller.identity import Principal
from oriel.model.errors import AuthError, BusyError, NotFoundError, OrielError, UnavailableError

__all__ = ["Connection", "Live"]

MOST_PER_PRINCIPAL = 200
MOST = 5000


@dataclass(eq=False)
class Connection:
    """One open WebSocket. `ended` is the reason once somebody ends it."""

    desktop: str
    kind: str
    principal: Principal
    mode: str
    ended: asyncio.Future[OrielError] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Live:
    """Every WebSocket registers here for as long as it is open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def count(self) -> Counter[str]:
        return Counter(connection.kind for connection in self._open)

    @contextmanager
    def register(self, connection: Connection) -> Iterator[Connection]:
        """BusyError beyond the limits."""
        mine = sum(1 for other in self._open if other.principal.key == connection.principal.key)
        if len(self._open) >= MOST or mine >= MOST_PER_PRINCIPAL:
            raise BusyError(
                "too many connections are open", retry_after_s=10, hint="close some viewers or terminals"
            )
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)

    def end_desktop(self, desktop: str) -> None:
        """The desktop is going away."""
        self._end(lambda one: one.desktop == desktop, NotFoundError("the desktop is gone"))

    def end_token(self, token_id: str) -> None:
        self._end(lambda one: one.principal.token_id == token_id, AuthError("the token was revoked"))

    def end_user(self, user_id: str) -> None:
        self._end(lambda one: one.principal.user_id == user_id, AuthError("the user's rights have changed"))

    def close(self) -> None:
        """The controller stops; the desktops go on."""
        self._end(lambda _: True, UnavailableError("the controller restarts"))

    def _end(self, chosen: Callable[[Connection], bool], why: OrielError) -> None:
        for connection in list(self._open):
            if chosen(connection) and not connection.ended.done():
                connection.ended.set_result(why)
