"""Recognises tokens, sessions and grants, makes and revokes them.

All three are random; only their SHA-256 is stored. What one may do is looked up where it hangs: a token's
user may have lost a role, a link's giver the desktop.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from oriel.controller.passwords import Passwords
from oriel.controller.rights import Mode, Permission, Principal, Role, allowed, digest, later
from oriel.controller.store import people, sessions, shares
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.people import Token, User
from oriel.controller.store.sessions import Session
from oriel.controller.store.shares import Link
from oriel.controller.vault import write_private
from oriel.model.errors import AuthError, Fault, ForbiddenError, InvalidError, NotFoundError
from oriel.model.events import utc_now
from oriel.model.secret import Secret

__all__ = ["Credentials"]

CACHE_S = 5.0  # how long somebody is believed without asking the database; revoking forgets it at once
TOUCH_S = 60.0
MOST_KNOWN = 10_000
ROOT = "admin"


class Credentials:
    """Whoever has a credential, by that credential."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords
        # By kind too: a session's secret must not pass for a token because it is remembered.
        self._known: dict[tuple[str, str], tuple[float, Principal]] = {}
        self._touched: dict[str, float] = {}

    async def of_token(self, token: str) -> Principal:
        """AuthError if the token is unknown, revoked or expired: one answer for all three."""
        principal = await self._recognise("token", digest(token), self._by_token)
        await self._touch(principal.token_id)
        return principal

    async def of_session(self, session: str) -> Principal:
        """AuthError if it is unknown or has ended."""
        principal = await self._recognise("session", digest(session), self._by_session)
        if principal.token_id:
            await self._touch(principal.token_id)
        return principal

    async def of_grant(self, grant: str) -> Principal:
        """The guest who holds it. AuthError if it has ended, or its giver may not give that any more."""
        return await self._recognise("grant", digest(grant), self._by_grant)

    async def check(self, principal: Principal) -> None:
        """That its credential is still there. AuthError if it was revoked meanwhile."""

        def gone(connection: Connection) -> bool:
            if principal.link:
                return shares.link_by_id(connection, principal.link) is None
            if principal.session and sessions.find(connection, principal.session) is None:
                return True
            return bool(principal.token_id) and people.find_token(connection, principal.token_id) is None

        if await self._database.read(gone):
            raise _link_ended() if principal.link else _unknown()

    def forget(self) -> None:
        """Something about people changed: believe nobody without asking."""
        self._known.clear()

    async def _recognise(
        self, kind: str, key: str, look_up: Callable[[str], Awaitable[Principal]]
    ) -> Principal:
        now = time.monotonic()
        cached = self._known.get((kind, key))
        if cached is None or now - cached[0] > CACHE_S:
            principal = await look_up(key)
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            self._known[kind, key] = (now, principal)
        else:
            principal = cached[1]
        if principal.expires_at is not None and principal.expires_at <= utc_now():
            raise _link_ended() if principal.link else _unknown()
        return principal

    async def _by_token(self, key: str) -> Principal:
        token = await self._database.read(lambda c: people.token_by_digest(c, key))
        if token is None:
            raise _unknown()
        return Principal(
            name=token.user, user_id=token.user_id, role=token.role, token_id=token.id, token_name=token.name,
            permissions=_within(token.role, token.scopes), expires_at=token.expires_at,
        )  # fmt: skip

    async def _by_session(self, key: str) -> Principal:
        session = await self._database.read(lambda c: sessions.find(c, key))
        if session is None:
            raise _unknown()
        return Principal(
            name=session.user, user_id=session.user_id, role=session.role, session=key,
            token_id=session.token_id or "", permissions=_within(session.role, session.scopes),
            expires_at=min(session.expires_at, session.token_ends or session.expires_at),
        )  # fmt: skip

    async def _by_grant(self, key: str) -> Principal:
        link = await self._database.read(lambda c: shares.find_link(c, key, opened=True))
        if link is None or not still_given(link):
            raise _link_ended()
        return guest_of(link)

    async def _touch(self, token_id: str) -> None:
        now = time.monotonic()
        if now - self._touched.get(token_id, -TOUCH_S) < TOUCH_S:
            return
        self._touched[token_id] = now
        await self._database.write(lambda t: people.touch_token(t, token_id))

    async def by_password(self, name: str, password: str) -> User:
        """AuthError, the same and after the same time, for a wrong password, nobody, and one without."""
        found = await self._database.read(lambda c: people.password_of(c, name))
        stored = found[1] if found else None
        if not await self._passwords.matches(stored, password) or found is None or stored is None:
            raise AuthError("the name or the password is wrong", hint="try again, or sign in with a token")
        if self._passwords.is_outdated(stored):
            renewed, user = await self._passwords.hash(password), found[0]
            await self._database.write(lambda t: people.renew_password(t, user, stored, renewed))
        return found[0]

    async def of_subject(self, subject: str, wished_name: str, role: str) -> User:
        """Whom the provider vouches for; made with `role` when they come for the first time.

        By the provider's subject alone: a name can be chosen there. ForbiddenError if `role` is none and
        nobody has added them.
        """

        def find_or_make(transaction: Transaction) -> User:
            found = people.user_by_subject(transaction.connection, subject)
            if found is not None:
                return found
            if role == "none":
                raise ForbiddenError("nobody has added you here yet", hint="ask an administrator")
            name = free_name(transaction.connection, wished_name)
            fresh = User(
                id=f"u-{secrets.token_hex(5)}", name=name, role=role, created_at=utc_now(), subject=subject
            )
            return people.add_user(transaction, fresh)

        return await self._database.write(find_or_make)

    async def set_password(self, user: User, password: str | None) -> None:
        """None takes it away. InvalidError if it is too easy. Sessions and links of the user end."""
        hashed = None if password is None else await self._passwords.hash(password, of=user.name)
        await self._database.write(lambda t: people.set_password(t, user, hashed))
        self.forget()

    async def open_session(
        self, user_id: str, way: str, ttl_s: float, *, address: str, token_id: str = ""
    ) -> tuple[Principal, Secret]:
        """A new session, never one that a browser brought along."""
        secret = Secret(f"session_{secrets.token_urlsafe(32)}")
        session = Session(
            digest=digest(secret.reveal()), user_id=user_id, token_id=token_id or None, way=way,
            address=address[:64], expires_at=later(ttl_s),
        )  # fmt: skip
        await self._database.write(lambda t: sessions.add(t, session))
        return await self.of_session(secret.reveal()), secret

    async def end_session(self, key: str) -> None:
        self.forget()
        await self._database.write(lambda t: sessions.end(t, key))

    async def make_token(
        self, user: User, name: str, scopes: Sequence[Permission], expires_in_s: int | None
    ) -> tuple[Token, Secret]:
        """A new token of `user`; the only time it is known. InvalidError for scopes beyond the role."""
        beyond = set(scopes) - allowed(user.role)
        if beyond:
            problem = f"a {user.role} cannot have {', '.join(sorted(beyond))}"
            raise InvalidError.of([Fault("scopes", problem)])
        made, secret = _new_token(user, name, scopes, expires_in_s)
        await self._database.write(lambda t: people.add_token(t, made, digest(secret.reveal())))
        return made, secret

    async def revoke(self, token_id: str) -> None:
        """The token and its sessions, at once."""
        await self._database.write(lambda t: people.remove_token(t, token_id))
        self.forget()

    async def ensure_admin(self, path: Path) -> None:
        """The administrator's token in `path`: made with its user at the first start.

        If the file is lost, a new token is made, and the lost one is revoked.
        """
        kept = await asyncio.to_thread(_read, path)
        if kept:
            try:
                await self.of_token(kept)
            except AuthError:
                pass
            else:
                return
        secret = await self._database.write(_admin_token)
        self.forget()
        write_private(path, f"{secret.reveal()}\n".encode())

    async def user(self, ref: str) -> User:
        found = await self._database.read(lambda c: people.find_user(c, ref))
        if found is None:
            raise NotFoundError(f"there is no user {ref[:63]!r}")
        return found


def free_name(connection: Connection, wished: str) -> str:
    """A name like the one wished for that nobody has."""
    letters = re.sub(r"[^a-z0-9]+", "-", wished.partition("@")[0].lower()).strip("-")[:50] or "user"
    numbered = (letters, *(f"{letters}-{number}" for number in range(2, 100)), f"user-{secrets.token_hex(4)}")
    return next(name for name in numbered if people.find_user(connection, name) is None)


def still_given(link: Link) -> bool:
    """Whether its giver may still give that: to their own desktop, or as an administrator."""
    may = allowed(link.giver_role)
    owns = link.giver_id == link.owner_id or Permission.ADMIN in may
    return owns and (link.mode == Mode.VIEW or Permission.CONTROL in may)


def guest_of(link: Link) -> Principal:
    """Whoever holds it."""
    permissions = {Permission.READ} | ({Permission.CONTROL} if link.mode == Mode.CONTROL else set())
    return Principal(
        name=f"guest {link.id}", user_id=link.giver_id, role="guest", desktop=link.desktop_id, link=link.id,
        permissions=frozenset(permissions), token_id=link.token_id or "", expires_at=link.expires_at,
    )  # fmt: skip


def _within(role: str, scopes: Sequence[str] | None) -> frozenset[Permission]:
    """What a token's scopes leave of what the user's role allows."""
    most = allowed(role)
    return most if scopes is None else most & {Permission(scope) for scope in scopes}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _admin_token(transaction: Transaction) -> Secret:
    """The first user, if there is none of that name, and a fresh token named "first" in place of the old."""
    connection = transaction.connection
    user = people.find_user(connection, ROOT)
    if user is None:
        fresh = User(id=f"u-{secrets.token_hex(5)}", name=ROOT, role=Role.ADMIN, created_at=utc_now())
        user = people.add_user(transaction, fresh)
    for token in people.token_page(connection, user_id=user.id, before=None, limit=10_000):
        if token.name == "first":
            people.remove_token(transaction, token.id)
    token, secret = _new_token(user, "first", sorted(Permission), None)
    people.add_token(transaction, token, digest(secret.reveal()))
    return secret


def _new_token(
    user: User, name: str, scopes: Sequence[Permission], expires_in_s: int | None
) -> tuple[Token, Secret]:
    secret = Secret(f"oriel_{secrets.token_urlsafe(32)}")
    token = Token(
        id=f"t-{secrets.token_hex(5)}", user_id=user.id, user=user.name, role=user.role, name=name,
        scopes=tuple(str(scope) for scope in scopes), created_at=utc_now(), last_used_at=None,
        expires_at=None if expires_in_s is None else later(expires_in_s),
    )  # fmt: skip
    return token, secret


def _unknown() -> AuthError:
    return AuthError(
        "the token is not valid", hint="it may be mistyped, expired or revoked: ask for a new one"
    )


def _link_ended() -> AuthError:
    return AuthError("the link has ended", hint="ask whoever sent it for a new one")
