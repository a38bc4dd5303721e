"""Tickets: rights to one desktop, for seconds, for those who cannot send a header.

A ticket opens one connection, once, to the run of the desktop it was made for; or it is redeemed once for
a grant (links.py). Only digests are kept, in memory: who holds one has it for seconds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from oriel.controller.rights import Mode, Principal, digest, seconds_until
from oriel.model.errors import AuthError, BusyError
from oriel.model.secret import Secret

__all__ = ["Pass", "Tickets"]

MOST = 20_000
MOST_EACH = 1000  # of one user or link: nobody's tickets keep others from theirs


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a ticket lets its holder do. `principal`: who got it, and answers for it.

    `generation`: of the desktop, which changes when it starts anew; None for whichever it has.
    `passed_on`: whether it may be redeemed by somebody else.
    """

    desktop: str
    mode: Mode
    principal: Principal
    generation: str | None = None
    passed_on: bool = False
    ends: float = 0  # by the monotonic clock


class Tickets:
    """All there are. A controller that starts again knows none; viewers ask for a new one anyway."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[str, Pass] = {}

    def issue(self, wanted: Pass, ttl_s: float) -> Secret:
        """A ticket, for no longer than its principal has. BusyError if too many were never used."""
        self._sweep()
        mine = sum(1 for one in self._tickets.values() if _same(one.principal, wanted.principal))
        if len(self._tickets) >= MOST or mine >= MOST_EACH:
            raise BusyError("too many tickets are waiting to be used", retry_after_s=10)
        left = seconds_until(wanted.principal.expires_at)
        ends = self._clock() + (ttl_s if left is None else min(ttl_s, left))
        ticket = Secret(secrets.token_urlsafe(32))
        self._tickets[digest(ticket.reveal())] = replace(wanted, ends=ends)
        return ticket

    def has(self, ticket: str) -> bool:
        """Whether it was issued here and not spent yet."""
        return digest(ticket) in self._tickets

    def spend(self, ticket: str) -> Pass:
        """The right this ticket stands for, once. AuthError if it is unknown, spent or too old."""
        found = self._tickets.pop(digest(ticket), None)
        if found is None or found.ends <= self._clock():
            raise AuthError("the ticket is not valid", hint="it works once and for seconds: get a new one")
        return found

    def revoke(self, belongs: Callable[[Pass], bool]) -> None:
        """Forget every ticket for which `belongs`."""
        for key in [key for key, one in self._tickets.items() if belongs(one)]:
            del self._tickets[key]

    def _sweep(self) -> None:
        now = self._clock()
        self.revoke(lambda one: one.ends <= now)


def _same(one: Principal, other: Principal) -> bool:
    return (one.user_id, one.link) == (other.user_id, other.link)
