"""Lists of desktops, a page at a time. Thousands are read each second: what was read is kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, or_, select

from oriel.controller.store.desktops import SELECT, Desktop, desktop_of
from oriel.controller.store.tables import desktops, users

__all__ = ["page"]


def page(
    connection: Connection,
    *,
    owner_id: str | None,
    before: int | None,
    limit: int,
    shared: Collection[str] = (),
) -> list[Desktop]:
    """The newest `limit`, older than the number `before`; of one owner with the ids `shared`, or of all."""
    query = _MARKS.order_by(desktops.c.number.desc()).limit(limit)
    if owner_id is not None:
        query = query.where(or_(desktops.c.owner_id == owner_id, desktops.c.id.in_(shared)))
    if before is not None:
        query = query.where(desktops.c.number < before)
    return _read_by_marks(connection, [tuple(row) for row in connection.execute(query)])


# A desktop that was read is kept: a list costs three columns a row, and the rest only of those that changed.
_Mark = tuple[int, int, str]
_MARKS = select(desktops.c.number, desktops.c.revision, users.c.name).join(
    users, users.c.id == desktops.c.owner_id
)
_KEPT = 4096
_kept: WeakKeyDictionary[Engine, dict[_Mark, Desktop]] = WeakKeyDictionary()


def _read_by_marks(connection: Connection, marks: Sequence[_Mark]) -> list[Desktop]:
    """One list in the order of `marks`; of those that went meanwhile nothing."""
    kept = _kept.setdefault(connection.engine, {})
    changed = [mark[0] for mark in marks if mark not in kept]
    fresh: dict[_Mark, Desktop] = {}
    for some in range(0, len(changed), 500):
        query = SELECT.where(desktops.c.number.in_(changed[some : some + 500]))
        for row in connection.execute(query):
            desktop = desktop_of(row)
            fresh[desktop.number, desktop.revision, desktop.owner] = desktop
    found = [one for mark in marks if (one := kept.get(mark) or fresh.get(mark)) is not None]
    if fresh:
        _kept[connection.engine] = dict(list((kept | fresh).items())[-_KEPT:])
    return found
