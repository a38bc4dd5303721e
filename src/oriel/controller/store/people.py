"""Users, their tokens, and the sessions opened with those. Tokens are stored as digests only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import desktops, proxies, sessions, tokens, users
from oriel.model.errors import NotFoundError, StateError
from oriel.model.events import utc_now

__all__ = [
    "Token",
    "User",
    "add_session",
    "add_token",
    "add_user",
    "change_role",
    "end_session",
    "find_token",
    "find_user",
    "remove_token",
    "remove_user",
    "token_by_digest",
    "token_by_session",
    "token_page",
    "touch_token",
    "user_page",
]

ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class User:
    id: str
    name: str
    role: str
    created_at: str
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


def add_user(transaction: Transaction, user: User) -> User:
    """StateError if the name is taken."""
    values = {"id": user.id, "name": user.name, "role": user.role, "created_at": user.created_at}
    try:
        transaction.connection.execute(insert(users).values(values))
    except IntegrityError as error:
        raise StateError(
            f"there is a user named {user.name!r} already", hint="choose another name", code="name_taken"
        ) from error
    return user


def find_user(connection: Connection, ref: str) -> User | None:
    """By id or name."""
    for column in (users.c.id, users.c.name):
        row = connection.execute(select(users).where(column == ref)).first()
        if row is not None:
            return User(**row._mapping)
    return None


def user_page(connection: Connection, *, before: int | None, limit: int) -> list[User]:
    query = select(users).order_by(users.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(users.c.number < before)
    return [User(**row._mapping) for row in connection.execute(query)]


def change_role(transaction: Transaction, user: User, role: str) -> User:
    """StateError if that would leave no administrator."""
    if user.role == ADMIN and role != ADMIN:
        _keep_an_admin(transaction.connection)
    transaction.connection.execute(update(users).where(users.c.id == user.id).values(role=role))
    return User(id=user.id, name=user.name, role=role, created_at=user.created_at, number=user.number)


def remove_user(transaction: Transaction, user: User) -> None:
    """With tokens and sessions. StateError while they own anything, or are the last administrator."""
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
    connection.execute(delete(users).where(users.c.id == user.id))


def _keep_an_admin(connection: Connection) -> None:
    query = select(func.count()).select_from(users).where(users.c.role == ADMIN)
    if (connection.execute(query).scalar() or 0) <= 1:
        raise StateError(
            "this is the last administrator", hint="make someone else one first", code="last_admin"
        )


def add_token(transaction: Transaction, token: Token, digest: str) -> Token:
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


def add_session(transaction: Transaction, digest: str, token_id: str, expires_at: str) -> None:
    """Sessions that have expired go with it."""
    now = utc_now()
    transaction.connection.execute(delete(sessions).where(sessions.c.expires_at < now))
    transaction.connection.execute(
        insert(sessions).values(digest=digest, token_id=token_id, created_at=now, expires_at=expires_at)
    )


def token_by_session(connection: Connection, digest: str) -> tuple[Token, str] | None:
    """The token behind a session, and when the session ends."""
    row = connection.execute(select(sessions).where(sessions.c.digest == digest)).first()
    if row is None:
        return None
    token = find_token(connection, row.token_id)
    return None if token is None else (token, str(row.expires_at))


def end_session(transaction: Transaction, digest: str) -> None:
    transaction.connection.execute(delete(sessions).where(sessions.c.digest == digest))
