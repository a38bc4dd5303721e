"""Who asks, and what they may do. Tokens and sessions are random; only their SHA-256 is stored."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from oriel.controller.store import people
from oriel.controller.store.database import Database, Transaction
from oriel.controller.store.people import Token, User
from oriel.controller.vault import write_private
from oriel.model.errors import AuthError, Fault, ForbiddenError, InvalidError, NotFoundError
from oriel.model.events import utc_now
from oriel.model.secret import Secret

__all__ = ["Identities", "Permission", "Principal", "Role", "digest", "later"]

CACHE_S = 5.0  # how long a token is believed without asking the database; revoking forgets it at once
TOUCH_S = 60.0
ROOT = "admin"


class Role(StrEnum):
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


class Permission(StrEnum):
    """What a route asks for. Also the scopes of a token."""

    READ = "read"  # see desktops, their screens and events
    CONTROL = "control"  # make, change and drive them
    ADMIN = "admin"  # people, images, audit, and what belongs to others


_OF_ROLE: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.USER: frozenset({Permission.READ, Permission.CONTROL}),
    Role.VIEWER: frozenset({Permission.READ}),
}


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks. A guest has a `desktop`: a redeemed link for that one desktop, and no account."""

    name: str
    user_id: str
    role: str
    permissions: frozenset[Permission]
    token_id: str = ""
    session: str = ""  # digest of the session, if the page asks by its cookie
    desktop: str = ""
    expires_at: str | None = None

    @property
    def key(self) -> str:
        """For limits and for closing what this one has open."""
        return f"guest:{self.name}" if self.desktop else self.token_id

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        if permission in self.permissions:
            return
        raise ForbiddenError(
            f"this needs the permission {permission!r}",
            hint="ask an administrator, or use a token with that scope",
        )


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def later(seconds: float) -> str:
    """The time in `seconds` from now, as `utc_now` writes it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Identities:
    """Recognises tokens and sessions, makes and revokes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Principal]] = {}
        self._touched: dict[str, float] = {}

    async def of_token(self, token: str) -> Principal:
        """AuthError if the token is unknown, revoked or expired: one answer for all three."""
        return await self._recognise(digest(token), session=False)

    async def of_session(self, session: str) -> Principal:
        return await self._recognise(digest(session), session=True)

    async def _recognise(self, key: str, *, session: bool) -> Principal:
        now = time.monotonic()
        cached = self._known.get(key)
        if cached is None or now - cached[0] > CACHE_S:
            principal = await self._look_up(key, session=session)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = (now, principal)
        else:
            principal = cached[1]
        if principal.expires_at is not None and principal.expires_at <= utc_now():
            raise _unknown()
        await self._touch(principal.token_id, now)
        return principal

    async def _look_up(self, key: str, *, session: bool) -> Principal:
        if not session:
            token = await self._database.read(lambda c: people.token_by_digest(c, key))
            if token is None:
                raise _unknown()
            return _principal(token)
        found = await self._database.read(lambda c: people.token_by_session(c, key))
        if found is None:
            raise _unknown()
        token, ends = found
        principal = _principal(token)
        return replace(principal, session=key, expires_at=min(ends, principal.expires_at or ends))

    async def _touch(self, token_id: str, now: float) -> None:
        if now - self._touched.get(token_id, -TOUCH_S) < TOUCH_S:
            return
        self._touched[token_id] = now
        await self._database.write(lambda t: people.touch_token(t, token_id))

    def forget(self) -> None:
        """Something about people changed: believe nobody without asking."""
        self._known.clear()

    async def open_session(self, token: str, ttl_s: float) -> tuple[Principal, Secret]:
        """A session of the page for the holder of `token`. AuthError as `of_token`."""
        principal = await self.of_token(token)
        session = Secret(f"session_{secrets.token_urlsafe(32)}")
        ends = later(ttl_s)
        key = digest(session.reveal())
        await self._database.write(lambda t: people.add_session(t, key, principal.token_id, ends))
        return principal, session

    async def end_session(self, key: str) -> None:
        self.forget()
        await self._database.write(lambda t: people.end_session(t, key))

    def allowed(self, role: str) -> frozenset[Permission]:
        """What users of this role may at most."""
        return _OF_ROLE[Role(role)]

    async def make_token(
        self, user: User, name: str, scopes: Sequence[Permission], expires_in_s: int | None
    ) -> tuple[Token, Secret]:
        """A new token of `user`; the only time it is known. InvalidError for scopes beyond the role."""
        beyond = set(scopes) - _OF_ROLE[Role(user.role)]
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


def _principal(token: Token) -> Principal:
    """What the token's scopes leave of what the user's role allows."""
    allowed = _OF_ROLE[Role(token.role)] & {Permission(scope) for scope in token.scopes}
    return Principal(
        name=token.user, user_id=token.user_id, role=token.role, permissions=allowed,
        token_id=token.id, expires_at=token.expires_at,
    )  # fmt: skip


def _unknown() -> AuthError:
    return AuthError(
        "the token is not valid", hint="it may be mistyped, expired or revoked: ask for a new one"
    )
