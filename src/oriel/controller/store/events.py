"""What happened to desktops, and who did what: rows that are only ever added, and the oldest dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import audit, events
from oriel.model.events import Event, utc_now

__all__ = [
    "Search",
    "Subject",
    "after",
    "audit_after",
    "audit_page",
    "last_of",
    "newest",
    "record",
    "trim",
    "write_audit",
]


class Subject(Protocol):
    """Whom an event is about: a desktop, by its id and its owner's."""

    @property
    def id(self) -> str: ...

    @property
    def owner_id(self) -> str: ...


def record(
    transaction: Transaction,
    desktop: Subject,
    kind: str,
    message: str = "",
    data: Mapping[str, Any] | None = None,
    *,
    at: str = "",
) -> Event:
    """Add an event; it is published once the transaction is on the disk. `seq` is the controller's own."""
    at = at or utc_now()
    values = {
        "at": at, "desktop": desktop.id, "owner_id": desktop.owner_id,
        "kind": kind[:64], "message": message.replace("\0", "\ufffd"), "data": dict(data or {}),
    }  # fmt: skip
    result = transaction.connection.execute(insert(events).values(values))
    key = result.inserted_primary_key
    event = Event(
        seq=int(key[0]) if key else 0, at=at, desktop=desktop.id, kind=kind, message=message, data=data or {}
    )
    transaction.events.append((desktop.owner_id, event))
    return event


def after(
    connection: Connection,
    seq: int,
    *,
    desktop: str | None,
    owner_id: str | None,
    limit: int,
    also: Collection[str] = (),
) -> list[Event]:
    """The next `limit` events with a higher `seq`, in order; of one desktop, of one owner and of the desktops
    in `also`, or all."""
    query = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
    if desktop is not None:
        query = query.where(events.c.desktop == desktop)
    if owner_id is not None:
        query = query.where(or_(events.c.owner_id == owner_id, events.c.desktop.in_(also)))
    return [_event(row) for row in connection.execute(query)]


def _event(row: Row[Any]) -> Event:
    return Event(
        seq=row.seq, at=row.at, desktop=row.desktop, kind=row.kind, message=row.message, data=row.data
    )


def last_of(connection: Connection, desktop: str, kind: str) -> Event | None:
    """The newest event of that kind, if it is still kept."""
    query = select(events).where(events.c.desktop == desktop, events.c.kind == kind)
    row = connection.execute(query.order_by(events.c.seq.desc()).limit(1)).first()
    return None if row is None else _event(row)


def newest(connection: Connection) -> int:
    """The highest `seq` so far, 0 if there is none."""
    return int(connection.execute(select(func.max(events.c.seq))).scalar() or 0)


def trim(transaction: Transaction, kept: int) -> None:
    """Drop all but (about) the newest `kept` events."""
    transaction.connection.execute(
        delete(events).where(events.c.seq <= newest(transaction.connection) - kept)
    )


def write_audit(transaction: Transaction, entry: Mapping[str, Any]) -> None:
    transaction.connection.execute(insert(audit).values(dict(entry)))


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which entries of the audit trail; what is None does not matter. Times: RFC 3339; before `until`."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: str | None = None
    until: str | None = None

    def on(self, query: Select[Any]) -> Select[Any]:
        for column, value in (
            (audit.c.actor, self.actor), (audit.c.action, self.action), (audit.c.target, self.target),
        ):  # fmt: skip
            if value is not None:
                query = query.where(column == value)
        if self.since is not None:
            query = query.where(audit.c.at >= self.since)
        return query if self.until is None else query.where(audit.c.at < self.until)


def audit_page(
    connection: Connection, *, before: int | None, limit: int, search: Search
) -> list[dict[str, Any]]:
    """The newest `limit` entries, older than the id `before`."""
    query = search.on(select(audit).order_by(audit.c.id.desc()).limit(limit))
    if before is not None:
        query = query.where(audit.c.id < before)
    return [dict(row._mapping) for row in connection.execute(query)]


def audit_after(connection: Connection, *, after: int, limit: int, search: Search) -> list[dict[str, Any]]:
    """The next `limit` entries after the id `after`, oldest first."""
    query = search.on(select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit))
    return [dict(row._mapping) for row in connection.execute(query)]
