"""Tickets: short-lived rights to one desktop, for those who cannot send a header, or have no account.

A ticket opens one connection, or is redeemed once for a grant: a viewer's right, kept in memory, to ask
for further tickets for the same desktop until the grant ends. Only digests are kept.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from oriel.controller.identity import Permission, Principal, digest
from oriel.model.errors import AuthError, BusyError
from oriel.model.secret import Secret

__all__ = ["Mode", "Pass", "Tickets"]

MOST = 20_000


class Mode(StrEnum):
    CONTROL = "control"
    VIEW = "view"


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a ticket or grant lets its holder do. `principal`: who gave it, and answers for it."""

    desktop: str
    mode: Mode
    principal: Principal
    ends: float  # by the monotonic clock
    lineage: str  # the grant it came from, or its own digest: what is revoked together


class Tickets:
    """All there are. In memory: a controller that starts again knows none, and viewers come anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[str, Pass] = {}
        self._grants: dict[str, Pass] = {}

    def issue(self, desktop: str, mode: Mode, principal: Principal, ttl_s: float) -> Secret:
        """A ticket. BusyError if there are too many that nobody used."""
        self._sweep()
        if len(self._tickets) >= MOST:
            raise BusyError("too many tickets are waiting to be used", retry_after_s=10)
        ticket = Secret(secrets.token_urlsafe(32))
        key = digest(ticket.reveal())
        ends = self._clock() + ttl_s
        if principal.desktop:
            # A guest's tickets end with its grant and go when it goes.
            grant = next((one for one in self._grants.values() if one.lineage == principal.name), None)
            ends = min(ends, grant.ends if grant else 0)
        lineage = principal.name if principal.desktop else key
        self._tickets[key] = Pass(desktop=desktop, mode=mode, principal=principal, ends=ends, lineage=lineage)
        return ticket

    def spend(self, ticket: str) -> Pass:
        """The right this ticket stands for, once. AuthError if it is unknown, spent or too old."""
        found = self._tickets.pop(digest(ticket), None)
        if found is None or found.ends <= self._clock():
            raise AuthError("the ticket is not valid", hint="it works once and for seconds: get a new one")
        return found

    def redeem(self, ticket: str, ttl_s: float) -> tuple[Pass, Secret]:
        """A grant for this ticket, which is spent. AuthError as `spend`."""
        spent = self.spend(ticket)
        grant = Secret(f"grant_{secrets.token_urlsafe(32)}")
        key = digest(grant.reveal())
        kept = replace(spent, ends=self._clock() + ttl_s, lineage=f"guest-{key[:12]}")
        self._grants[key] = kept
        return kept, grant

    def guest(self, grant: str) -> Principal:
        """Who holds this grant. AuthError if it has ended."""
        found = self._grants.get(digest(grant))
        if found is None or found.ends <= self._clock():
            raise AuthError("the link has ended", hint="ask whoever sent it for a new one")
        permissions = (
            {Permission.READ, Permission.CONTROL} if found.mode is Mode.CONTROL else {Permission.READ}
        )
        return Principal(
            name=found.lineage, user_id=found.principal.user_id, role="guest", desktop=found.desktop,
            permissions=frozenset(permissions), token_id=found.principal.token_id,
        )  # fmt: skip

    def revoke(self, belongs: Callable[[Pass], bool]) -> None:
        """Forget every ticket and grant for which `belongs`."""
        for passes in (self._tickets, self._grants):
            for key in [key for key, one in passes.items() if belongs(one)]:
                del passes[key]

    def _sweep(self) -> None:
        now = self._clock()
        self.revoke(lambda one: one.ends <= now)
