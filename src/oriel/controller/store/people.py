"""Users and their tokens. Passwords are stored as Argon2 hashes, tokens as digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import desktops, links, proxies, sessions, shares, tokens, users
from oriel.model.errors import NotFoundError, StateError
from oriel.model.events import utc_now

__all__ = [
    "Token",
    "User",
    "add_token",
    "add_user",
    "any_password",
    "change_user",
    "find_token",
    "find_user",
    "password_of",
    "remove_token",
    "remove_user",
    "renew_password",
    "set_password",
    "token_by_digest",
    "token_page",
    "touch_token",
    "user_by_subject",
    "user_page",
]

ADMIN = "admin"
MOST_TOKENS = 500  # of one user


@dataclass(frozen=True, kw_only=True)
class User:
    """`quota`: what differs from the settings. `subject`: who they are to the OIDC provider, "" if nobody."""

    id: str
    name: str
    role: str
    created_at: str
    has_password: bool = False
    subject: str = ""
    quota: Mapping[str, int] = field(default_factory=dict)
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without the token: `digest` is its SHA-256."""

    id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    user: str = ""
    role: str = ""
    number: int = 0


_TOKEN = select(
    tokens.c.id, tokens.c.user_id, tokens.c.name, tokens.c.scopes, tokens.c.created_at, tokens.c.expires_at,
    tokens.c.last_used_at, tokens.c.number, users.c.name.label("user"), users.c.role,
).join(users, users.c.id == tokens.c.user_id)  # fmt: skip


def _token(row: Any) -> Token:
    values = dict(row._mapping)
    return Token(**values | {"scopes": tuple(values["scopes"])})


def _user(row: Any) -> User:
    return User(
        id=row.id, name=row.name, role=row.role, created_at=row.created_at, number=row.number,
        has_password=row.password is not None, subject=row.subject or "", quota=dict(row.quota or {}),
    )  # fmt: skip


def add_user(transaction: Transaction, user: User, password: str | None = None) -> User:
    """`password`: its hash. StateError if the name, or the provider's subject, is taken."""
    values = {
        "id": user.id, "name": user.name, "role": user.role, "created_at": user.created_at,
        "password": password, "subject": user.subject or None, "quota": dict(user.quota),
    }  # fmt: skip
    try:
        transaction.connection.execute(insert(users).values(values))
    except IntegrityError as error:
        raise _taken(transaction.connection, user) from error
    return replace(user, has_password=password is not None)


def _taken(connection: Connection, user: User) -> StateError:
    if connection.execute(select(users.c.id).where(users.c.name == user.name)).first() is not None:
        return StateError(
            f"there is a user named {user.name!r} already", hint="choose another name", code="name_taken"
        )
    return StateError(
        "another user has this subject at the provider",
        hint="one person at the provider is one user here",
        code="subject_taken",
    )


def find_user(connection: Connection, ref: str) -> User | None:
    """By id or name."""
    for column in (users.c.id, users.c.name):
        row = connection.execute(select(users).where(column == ref)).first()
        if row is not None:
            return _user(row)
    return None


def user_by_subject(connection: Connection, subject: str) -> User | None:
    row = connection.execute(select(users).where(users.c.subject == subject)).first()
    return None if row is None else _user(row)


def password_of(connection: Connection, name: str) -> tuple[User, str | None] | None:
    """The user of that name, and the hash of their password, None if they have none."""
    row = connection.execute(select(users).where(users.c.name == name)).first()
    return None if row is None else (_user(row), row.password)


def any_password(connection: Connection) -> bool:
    """Whether anyone can sign in by one."""
    return connection.execute(select(users.c.id).where(users.c.password.is_not(None))).first() is not None


def set_password(transaction: Transaction, user: User, password: str | None) -> None:
    """`password`: its hash; None: they have none. Their sessions and the links they gave end with the old."""
    connection = transaction.connection
    connection.execute(update(users).where(users.c.id == user.id).values(password=password))
    connection.execute(delete(sessions).where(sessions.c.user_id == user.id))
    connection.execute(delete(links).where(links.c.giver_id == user.id))


def renew_password(transaction: Transaction, user: User, old: str, new: str) -> None:
    """The same password, hashed anew; nothing if it was changed meanwhile."""
    transaction.connection.execute(
        update(users).where(users.c.id == user.id, users.c.password == old).values(password=new)
    )


def user_page(connection: Connection, *, before: int | None, limit: int) -> list[User]:
    query = select(users).order_by(users.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(users.c.number < before)
    return [_user(row) for row in connection.execute(query)]


def change_user(
    transaction: Transaction,
    user: User,
    *,
    role: str | None = None,
    subject: str | None = None,
    quota: Mapping[str, int] | None = None,
) -> User:
    """StateError if that would leave no administrator, or the subject is another user's."""
    if role is not None and user.role == ADMIN and role != ADMIN:
        _keep_an_admin(transaction.connection)
    changed = replace(
        user,
        role=user.role if role is None else role,
        subject=user.subject if subject is None else subject,
        quota=user.quota if quota is None else quota,
    )
    values = {"role": changed.role, "subject": changed.subject or None, "quota": dict(changed.quota)}
    try:
        transaction.connection.execute(update(users).where(users.c.id == user.id).values(values))
    except IntegrityError as error:
        raise StateError(
            "another user has this subject at the provider",
            hint="one person at the provider is one user here",
            code="subject_taken",
        ) from error
    return changed


def remove_user(transaction: Transaction, user: User) -> None:
    """With tokens, sessions, links and what was shared with them. StateError while they own anything, or
    are the last administrator."""
    connection = transaction.connection
    if user.role == ADMIN:
        _keep_an_admin(connection)
    for table, what in ((desktops, "desktops"), (proxies, "proxies")):
        query = select(func.count()).select_from(table).where(table.c.owner_id == user.id)
        if count := connection.execute(query).scalar():
            raise StateError(
                f"{user.name} still owns {count} {what}",
                hint=f"delete them first, or give them to someone else (PATCH owner of {what})",
                code="user_owns_things",
            )
    # The database would do that by itself; said here, because rights hang on it.
    for owned in (sessions.c.user_id, tokens.c.user_id, links.c.giver_id, shares.c.user_id):
        connection.execute(delete(owned.table).where(owned == user.id))
    connection.execute(delete(users).where(users.c.id == user.id))


def _keep_an_admin(connection: Connection) -> None:
    query = select(func.count()).select_from(users).where(users.c.role == ADMIN)
    if (connection.execute(query).scalar() or 0) <= 1:
        raise StateError(
            "this is the last administrator", hint="make someone else one first", code="last_admin"
        )


def add_token(transaction: Transaction, token: Token, digest: str) -> Token:
    """StateError if the user has too many already."""
    query = select(func.count()).select_from(tokens).where(tokens.c.user_id == token.user_id)
    if (transaction.connection.execute(query).scalar() or 0) >= MOST_TOKENS:
        raise StateError(
            f"{token.user} has {MOST_TOKENS} tokens already", hint="revoke some first", code="too_many_tokens"
        )
    transaction.connection.execute(
        insert(tokens).values(
            id=token.id, user_id=token.user_id, name=token.name, digest=digest, scopes=list(token.scopes),
            created_at=token.created_at, expires_at=token.expires_at,
        )
    )  # fmt: skip
    return token


def find_token(connection: Connection, token_id: str) -> Token | None:
    row = connection.execute(_TOKEN.where(tokens.c.id == token_id)).first()
    return None if row is None else _token(row)


def token_by_digest(connection: Connection, digest: str) -> Token | None:
    row = connection.execute(_TOKEN.where(tokens.c.digest == digest)).first()
    return None if row is None else _token(row)


def token_page(connection: Connection, *, user_id: str | None, before: int | None, limit: int) -> list[Token]:
    query = _TOKEN.order_by(tokens.c.number.desc()).limit(limit)
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    if before is not None:
        query = query.where(tokens.c.number < before)
    return [_token(row) for row in connection.execute(query)]


def touch_token(transaction: Transaction, token_id: str) -> None:
    """It was used now."""
    transaction.connection.execute(
        update(tokens).where(tokens.c.id == token_id).values(last_used_at=utc_now())
    )


def remove_token(transaction: Transaction, token_id: str) -> None:
    """Revoke it, and the sessions opened with it. NotFoundError if there is none."""
    result = transaction.connection.execute(delete(tokens).where(tokens.c.id == token_id))
    if result.rowcount == 0:
        raise NotFoundError("no such token")
