"""Ways out that operators and users have registered. The URL with its password is stored encrypted.

A proxy has one address or, as a pool, several. Which of them a desktop goes out by is decided in `leases`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from oriel.controller.store.database import Transaction
from oriel.controller.store.tables import desktops, leases, proxies, users
from oriel.model.errors import NotFoundError, StateError

__all__ = ["Proxy", "Use", "add", "change", "find", "page", "remove", "uses"]


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """`addresses` are scheme://host:port each; `secret` the encrypted URLs.

    `exclusive`: an address is one desktop's alone. `shared`: whoever may have desktops may use it.
    """

    id: str
    name: str
    owner_id: str
    owner: str
    addresses: Sequence[str]
    secret: bytes = field(repr=False)
    has_password: bool
    labels: Mapping[str, str]
    created_at: str
    exclusive: bool = False
    shared: bool = False
    failover: bool = False
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Use:
    """A desktop that goes out by a proxy, and by which of its addresses."""

    proxy: str
    desktop: str
    owner: str
    place: int


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
    """Those of `owner_id` and those that are shared; all without one."""
    query = _SELECT.order_by(proxies.c.number.desc()).limit(limit)
    if owner_id is not None:
        query = query.where((proxies.c.owner_id == owner_id) | proxies.c.shared)
    if before is not None:
        query = query.where(proxies.c.number < before)
    return [_proxy(row) for row in connection.execute(query)]


def add(transaction: Transaction, proxy: Proxy) -> Proxy:
    """StateError if the name is taken."""
    values = {item.name: getattr(proxy, item.name) for item in proxies.columns if item.name != "number"}
    plain = {"labels": dict(proxy.labels), "addresses": list(proxy.addresses)}
    try:
        transaction.connection.execute(insert(proxies).values(values | plain))
    except IntegrityError as error:
        raise _taken(proxy.name) from error
    return proxy


def change(transaction: Transaction, proxy_id: str, values: Mapping[str, Any]) -> Proxy:
    """NotFoundError if it is gone. StateError if a new name is taken, or desktops use it as it was."""
    connection = transaction.connection
    found = find(connection, proxy_id)
    if found is None:
        raise NotFoundError("no such proxy")
    if values.get("name", found.name) != found.name:
        _refuse_in_use(connection, found.name)
    _keep_promises(connection, found, values)
    if values:
        try:
            connection.execute(update(proxies).where(proxies.c.id == found.id).values(dict(values)))
        except IntegrityError as error:
            raise _taken(str(values.get("name"))) from error
    changed = find(connection, found.id)
    if changed is None:
        raise NotFoundError("no such proxy")
    return changed


def _keep_promises(connection: Connection, old: Proxy, values: Mapping[str, Any]) -> None:
    """What desktops have been given is not taken from them."""
    used = uses(connection, [old.name])
    count = len(values.get("addresses", old.addresses))
    if any(use.place >= count for use in used):
        raise StateError(
            "desktops go out by addresses that would be gone",
            hint="give them another way out first: PATCH /v1/desktops/NAME/egress",
            code="proxy_in_use",
        )
    if values.get("exclusive", old.exclusive) and len({use.place for use in used}) < len(used):
        raise StateError(
            "several desktops go out by the same address of this proxy",
            hint="give all but one of them another way out, then make it exclusive",
            code="proxy_in_use",
        )
    connection.execute(delete(leases).where(leases.c.proxy_id == old.id, leases.c.place >= count))


def uses(connection: Connection, names: Sequence[str]) -> list[Use]:
    """The desktops that go out by the proxies of these names."""
    query = (
        select(desktops.c.proxy, desktops.c.name, desktops.c.place, users.c.name.label("owner"))
        .join(users, users.c.id == desktops.c.owner_id)
        .where(desktops.c.proxy.in_(names))
        .order_by(desktops.c.place, desktops.c.number)
    )
    return [
        Use(proxy=row.proxy, desktop=row.name, owner=row.owner, place=row.place)
        for row in connection.execute(query)
    ]


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
