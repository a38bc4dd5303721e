"""Sessions of the page: rows on the server; a browser holds only the secret whose digest is the key."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import sessions, tokens, users
from oriel.model.events import utc_now

__all__ = ["Session", "add", "end", "end_of_user", "find"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """`way`: token, password or oidc. With a token its `scopes` and its end bound the session."""

    digest: str
    user_id: str
    token_id: str | None
    way: str
    address: str
    expires_at: str
    user: str = ""
    role: str = ""
    scopes: tuple[str, ...] | None = None
    token_ends: str | None = None


def add(transaction: Transaction, session: Session) -> None:
    """Sessions that have expired go with it."""
    connection, now = transaction.connection, utc_now()
    connection.execute(delete(sessions).where(sessions.c.expires_at < now))
    connection.execute(
        insert(sessions).values(
            digest=session.digest, user_id=session.user_id, token_id=session.token_id, way=session.way,
            address=session.address, created_at=now, expires_at=session.expires_at,
        )
    )  # fmt: skip


def find(connection: Connection, digest: str) -> Session | None:
    """With what its user, and its token, now allow."""
    query = (
        select(
            sessions, users.c.name.label("user"), users.c.role, tokens.c.scopes,
            tokens.c.expires_at.label("token_ends"),
        )
        .join(users, users.c.id == sessions.c.user_id)
        .join(tokens, tokens.c.id == sessions.c.token_id, isouter=True)
        .where(sessions.c.digest == digest)
    )  # fmt: skip
    row = connection.execute(query).first()
    if row is None:
        return None
    return Session(
        digest=row.digest, user_id=row.user_id, token_id=row.token_id, way=row.way, address=row.address,
        expires_at=row.expires_at, user=row.user, role=row.role, token_ends=row.token_ends,
        scopes=None if row.scopes is None else tuple(row.scopes),
    )  # fmt: skip


def end(transaction: Transaction, digest: str) -> None:
    transaction.connection.execute(delete(sessions).where(sessions.c.digest == digest))


def end_of_user(transaction: Transaction, user_id: str) -> None:
    """Everywhere they are signed in."""
    transaction.connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
