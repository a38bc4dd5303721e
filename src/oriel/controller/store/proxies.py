"""Ways out that operators and users have registered. The URL with its password is stored encrypted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import desktops, proxies, users
from oriel.model.errors import NotFoundError, StateError

__all__ = ["Proxy", "add", "change", "find", "page", "remove"]


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """`address` is scheme://host:port; `secret` the encrypted URL."""

    id: str
    name: str
    owner_id: str
    owner: str
    address: str
    secret: bytes = field(repr=False)
    has_password: bool
    labels: Mapping[str, str]
    created_at: str
    number: int = 0


_SELECT = select(proxies, users.c.name.label("owner")).join(users, users.c.id == proxies.c.owner_id)


def _proxy(row: Row[Any]) -> Proxy:
    return Proxy(**row._mapping)


def find(connection: Connection, ref: str) -> Proxy | None:
    """By id or name."""
    for column in (proxies.c.id, proxies.c.name):
        row = connection.execute(_SELECT.where(column == ref)).first()
        if row is not None:
            return _proxy(row)
    return None


def page(connection: Connection, *, owner_id: str | None, before: int | None, limit: int) -> list[Proxy]:
    query = _SELECT.order_by(proxies.c.number.desc()).limit(limit)
    if owner_id is not None:
        query = query.where(proxies.c.owner_id == owner_id)
    if before is not None:
        query = query.where(proxies.c.number < before)
    return [_proxy(row) for row in connection.execute(query)]


def add(transaction: Transaction, proxy: Proxy) -> Proxy:
    """StateError if the name is taken."""
    values = {item.name: getattr(proxy, item.name) for item in proxies.columns if item.name != "number"}
    try:
        transaction.connection.execute(insert(proxies).values(values | {"labels": dict(proxy.labels)}))
    except IntegrityError as error:
        raise _taken(proxy.name) from error
    return proxy


def change(transaction: Transaction, proxy_id: str, values: Mapping[str, Any]) -> Proxy:
    """NotFoundError if it is gone, StateError if a new name is taken or the old one is in use."""
    connection = transaction.connection
    found = find(connection, proxy_id)
    if found is None:
        raise NotFoundError("no such proxy")
    if values.get("name", found.name) != found.name:
        _refuse_in_use(connection, found.name)
    if values:
        try:
            connection.execute(update(proxies).where(proxies.c.id == found.id).values(dict(values)))
        except IntegrityError as error:
            raise _taken(str(values.get("name"))) from error
    changed = find(connection, found.id)
    if changed is None:
        raise NotFoundError("no such proxy")
    return changed


def remove(transaction: Transaction, proxy: Proxy) -> None:
    """StateError while a desktop goes out by it."""
    _refuse_in_use(transaction.connection, proxy.name)
    transaction.connection.execute(delete(proxies).where(proxies.c.id == proxy.id))


def _refuse_in_use(connection: Connection, name: str) -> None:
    query = select(func.count()).select_from(desktops).where(desktops.c.proxy == name)
    if count := connection.execute(query).scalar():
        raise StateError(
            f"{count} {'desktop goes' if count == 1 else 'desktops go'} out by this proxy",
            hint="give them another way out first: PATCH /v1/desktops/NAME/egress",
            code="proxy_in_use",
        )


def _taken(name: str) -> StateError:
    return StateError(
        f"there is a proxy named {name!r} already", hint="choose another name", code="name_taken"
    )
