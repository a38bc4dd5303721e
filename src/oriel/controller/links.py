"""Links: rights to one desktop for whoever has been sent one. Kept in the database, unlike tickets.

A link is a ticket that waits for hours. The page of whoever opens it redeems that ticket, once, for a
grant: the right to ask for tickets until the grant ends, its giver loses the desktop, or takes it back.
"""

from __future__ import annotations

import secrets

from oriel.controller.credentials import guest_of, still_given
from oriel.controller.rights import Mode, Principal, digest, later
from oriel.controller.store import shares
from oriel.controller.store.database import Database
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.shares import Link
from oriel.controller.tickets import Pass, Tickets
from oriel.model.errors import AuthError, ForbiddenError
from oriel.model.events import utc_now
from oriel.model.secret import Secret

__all__ = ["FROM_S", "Links"]

FROM_S = 300  # a ticket that is to wait for longer is a link


class Links:
    """Makes, opens and spends them."""

    def __init__(self, database: Database, tickets: Tickets, grant_ttl_s: float) -> None:
        self._database = database
        self._tickets = tickets
        self._grant_ttl_s = grant_ttl_s

    async def make(self, desktop: Desktop, mode: Mode, giver: Principal, ttl_s: float) -> tuple[Link, Secret]:
        """A link and its ticket. StateError if the desktop has too many."""
        ticket = Secret(secrets.token_urlsafe(32))
        link = _link(desktop.id, mode, giver, later(ttl_s))
        key = digest(ticket.reveal())
        await self._database.write(lambda t: shares.add_link(t, link, key))
        return link, ticket

    async def open(self, ticket: str) -> tuple[Principal, Secret]:
        """Spend a ticket, a link's or one of the short ones, for a grant. AuthError if it is not valid,
        ForbiddenError if it was made for its holder alone."""
        grant = Secret(f"grant_{secrets.token_urlsafe(32)}")
        key, ends = digest(grant.reveal()), later(self._grant_ttl_s)
        waiting = await self._waiting(ticket)
        if waiting is not None:
            link = await self._database.write(lambda t: shares.open_link(t, digest(ticket), key, ends))
            if link is None:
                raise _ended()
            return guest_of(link), grant
        right = self._tickets.spend(ticket)
        if not right.passed_on:
            raise ForbiddenError("this ticket is only for who asked for it", hint="ask the desktop's owner")
        made = _link(right.desktop, right.mode, right.principal, ends, opened=True)
        await self._database.write(lambda t: shares.add_link(t, made, key))
        return guest_of(made), grant

    async def spend(self, ticket: str) -> Pass:
        """The right a ticket stands for, for one connection. AuthError if it is not valid."""
        if await self._waiting(ticket) is None:
            return self._tickets.spend(ticket)
        # Nobody learns its grant; it stays in the list of links, where its giver can end it.
        key, ends = digest(secrets.token_urlsafe(32)), later(self._grant_ttl_s)
        link = await self._database.write(lambda t: shares.open_link(t, digest(ticket), key, ends))
        if link is None:
            raise _ended()
        return Pass(desktop=link.desktop_id, mode=Mode(link.mode), principal=guest_of(link))

    async def _waiting(self, ticket: str) -> Link | None:
        """The link this ticket opens. AuthError if its giver may not give that any more.

        Only read: whoever guesses tickets must not make the database write.
        """
        if self._tickets.has(ticket):
            return None
        key = digest(ticket)
        link = await self._database.read(lambda c: shares.find_link(c, key, opened=False))
        if link is not None and not still_given(link):
            raise _ended()
        return link


def _link(desktop_id: str, mode: Mode, giver: Principal, ends: str, *, opened: bool = False) -> Link:
    now = utc_now()
    return Link(
        id=f"l-{secrets.token_hex(5)}", desktop_id=desktop_id, giver_id=giver.user_id,
        # What a session gave outlives it; what a token gave ends with the token.
        token_id=None if giver.session else giver.token_id or None,
        mode=str(mode), created_at=now, opened_at=now if opened else None, expires_at=ends,
        giver=giver.name, giver_role=giver.role,
    )  # fmt: skip


def _ended() -> AuthError:
    return AuthError("the link has ended", hint="ask whoever sent it for a new one")
