"""Rights to somebody else's desktop: shares, for users, and links, for whoever has been sent one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import desktops, links, shares, users
from oriel.model.errors import NotFoundError, StateError
from oriel.model.events import utc_now

__all__ = [
    "Link",
    "Share",
    "add_link",
    "add_share",
    "find_link",
    "link_by_id",
    "links_of",
    "open_link",
    "remove_all",
    "remove_link",
    "remove_share",
    "share_for",
    "shared_with",
    "shares_of",
]

MOST_LINKS = 500  # of one desktop


@dataclass(frozen=True, kw_only=True)
class Share:
    """A user's right to look at a desktop (view) or to drive it (control), until `expires_at`, if set."""

    id: str
    desktop_id: str
    user_id: str
    user: str
    mode: str
    created_at: str
    expires_at: str | None
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Link:
    """The right of whoever holds a secret: a ticket to be opened once, or, `opened_at` since then, a grant.

    `giver_*`: who answers for it, as they are now.
    """

    id: str
    desktop_id: str
    giver_id: str
    token_id: str | None
    mode: str
    created_at: str
    opened_at: str | None
    expires_at: str
    giver: str = ""
    giver_role: str = ""
    owner_id: str = ""
    number: int = 0


def add_share(transaction: Transaction, share: Share) -> Share:
    """In place of what this user had of this desktop. NotFoundError if either is gone."""
    connection = transaction.connection
    connection.execute(
        delete(shares).where(shares.c.desktop_id == share.desktop_id, shares.c.user_id == share.user_id)
    )
    values = {item.name: getattr(share, item.name) for item in shares.columns if item.name != "number"}
    try:
        connection.execute(insert(shares).values(values))
    except IntegrityError as error:
        raise NotFoundError("the desktop, or the user, is gone") from error
    return share


def shares_of(connection: Connection, desktop_id: str) -> list[Share]:
    """Newest first; those that have ended too, so that their end can be seen."""
    query = _SHARE.where(shares.c.desktop_id == desktop_id).order_by(shares.c.number.desc())
    return [Share(**row._mapping) for row in connection.execute(query)]


def share_for(connection: Connection, desktop_id: str, user_id: str) -> Share | None:
    """What this user may do with somebody else's desktop now."""
    query = _in_force(_SHARE.where(shares.c.desktop_id == desktop_id, shares.c.user_id == user_id))
    row = connection.execute(query).first()
    return None if row is None else Share(**row._mapping)


def shared_with(connection: Connection, user_id: str) -> dict[str, Share]:
    """What this user may do with whose desktops now, by the desktops' ids."""
    rows = connection.execute(_in_force(_SHARE.where(shares.c.user_id == user_id)))
    return {row.desktop_id: Share(**row._mapping) for row in rows}


def remove_share(transaction: Transaction, desktop_id: str, share_id: str) -> Share:
    """NotFoundError if the desktop has no such share."""
    query = _SHARE.where(shares.c.desktop_id == desktop_id, shares.c.id == share_id)
    row = transaction.connection.execute(query).first()
    if row is None:
        raise NotFoundError("there is no such share", hint="GET …/shares lists them")
    transaction.connection.execute(delete(shares).where(shares.c.id == share_id))
    return Share(**row._mapping)


def remove_all(transaction: Transaction, desktop_id: str) -> None:
    """Nobody but its owner has a right to this desktop any more."""
    for table in (shares, links):
        transaction.connection.execute(delete(table).where(table.c.desktop_id == desktop_id))


_SHARE = select(shares, users.c.name.label("user")).join(users, users.c.id == shares.c.user_id)


def _in_force(query: Select[Any]) -> Select[Any]:
    return query.where(or_(shares.c.expires_at.is_(None), shares.c.expires_at > utc_now()))


def add_link(transaction: Transaction, link: Link, digest: str) -> Link:
    """Links that have ended go with it. StateError if there are too many, NotFoundError without a desktop."""
    connection = transaction.connection
    connection.execute(delete(links).where(links.c.expires_at < utc_now()))
    query = select(func.count()).select_from(links).where(links.c.desktop_id == link.desktop_id)
    if (connection.execute(query).scalar() or 0) >= MOST_LINKS:
        raise StateError(
            f"this desktop has {MOST_LINKS} links already", hint="end some first", code="too_many_links"
        )
    names = [item.name for item in links.columns if item.name not in ("number", "digest")]
    try:
        connection.execute(
            insert(links).values({name: getattr(link, name) for name in names} | {"digest": digest})
        )
    except IntegrityError as error:
        raise NotFoundError("the desktop of this link is gone") from error
    return link


def find_link(connection: Connection, digest: str, *, opened: bool) -> Link | None:
    """By its grant if `opened`, else by its ticket; whether it has ended its caller must see."""
    state = links.c.opened_at.is_not(None) if opened else links.c.opened_at.is_(None)
    row = connection.execute(_LINK.where(links.c.digest == digest, state)).first()
    return None if row is None else _link(row)


def link_by_id(connection: Connection, link_id: str) -> Link | None:
    row = connection.execute(_LINK.where(links.c.id == link_id)).first()
    return None if row is None else _link(row)


def links_of(connection: Connection, desktop_id: str) -> list[Link]:
    """Those in force, newest first."""
    query = _LINK.where(links.c.desktop_id == desktop_id, links.c.expires_at > utc_now())
    return [_link(row) for row in connection.execute(query.order_by(links.c.number.desc()))]


def open_link(transaction: Transaction, digest: str, grant: str, ends: str) -> Link | None:
    """Its ticket is spent: from now on it is the grant with the digest `grant`. None if there is none."""
    link = find_link(transaction.connection, digest, opened=False)
    if link is None or link.expires_at <= utc_now():
        return None
    now = utc_now()
    transaction.connection.execute(
        update(links).where(links.c.id == link.id).values(digest=grant, opened_at=now, expires_at=ends)
    )
    return replace(link, opened_at=now, expires_at=ends)


def remove_link(transaction: Transaction, desktop_id: str, link_id: str) -> None:
    """NotFoundError if the desktop has no such link."""
    result = transaction.connection.execute(
        delete(links).where(links.c.desktop_id == desktop_id, links.c.id == link_id)
    )
    if result.rowcount == 0:
        raise NotFoundError("there is no such link", hint="GET …/shares lists them")


_LINK = (
    select(links, users.c.name.label("giver"), users.c.role.label("giver_role"), desktops.c.owner_id)
    .join(users, users.c.id == links.c.giver_id)
    .join(desktops, desktops.c.id == links.c.desktop_id)
)


def _link(row: Any) -> Link:
    return Link(**{key: value for key, value in row._mapping.items() if key != "digest"})
