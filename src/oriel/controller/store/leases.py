"""Which address of a proxy a desktop goes out by: one per user, or one per desktop where it is exclusive.

An address stays its user's when they leave it, and is theirs again when they come back. Only when all others
are in use is one that nobody uses given to somebody else, the one that was given out longest ago first.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from oriel.controller.store.database import Transaction
from oriel.controller.store.proxies import Proxy, find
from oriel.controller.store.tables import desktops, leases
from oriel.model.errors import StateError
from oriel.model.events import utc_now

__all__ = ["take"]


def take(transaction: Transaction, name: str, *, desktop_id: str, owner_id: str) -> int:
    """The place, in the proxy `name`, of the address that this desktop of `owner_id` is to use.

    StateError if every one is in use. A way out that is no proxy (`direct`, `none`) has only place 0.
    """
    connection = transaction.connection
    proxy = find(connection, name)
    if proxy is None or (len(proxy.addresses) == 1 and not proxy.exclusive):
        return 0
    held = _leases(connection, proxy)
    if not proxy.exclusive and (mine := [place for place, user in held.items() if user == owner_id]):
        return mine[0]
    used = _used(connection, proxy, desktop_id)
    ages = {place: age for age, place in enumerate(held, start=2)}

    def preference(place: int) -> int:
        """Their own first, then those nobody ever had, then others' that are not in use."""
        return 0 if held.get(place) == owner_id else ages.get(place, 1)

    free = [place for place in range(len(proxy.addresses)) if place not in used]
    if not free:
        raise _none_free(proxy)
    place = min(free, key=preference)
    connection.execute(delete(leases).where(leases.c.proxy_id == proxy.id, leases.c.place == place))
    connection.execute(
        insert(leases).values(proxy_id=proxy.id, place=place, user_id=owner_id, taken_at=utc_now())
    )
    return place


def _leases(connection: Connection, proxy: Proxy) -> dict[int, str]:
    """Whose each place is, oldest first."""
    query = select(leases).where(leases.c.proxy_id == proxy.id).order_by(leases.c.taken_at, leases.c.place)
    return {row.place: row.user_id for row in connection.execute(query)}


def _used(connection: Connection, proxy: Proxy, but: str) -> set[int]:
    query = select(desktops.c.place).where(desktops.c.proxy == proxy.name, desktops.c.id != but)
    return set(connection.execute(query).scalars())


def _none_free(proxy: Proxy) -> StateError:
    if len(proxy.addresses) == 1:
        return StateError(
            f"the proxy {proxy.name} is exclusive, and another desktop goes out by it",
            hint="use another proxy, or give that desktop another way out first",
            code="proxy_in_use",
        )
    return StateError(
        f"all {len(proxy.addresses)} addresses of the proxy {proxy.name} are in use",
        hint="use another proxy, add addresses to this one, or delete a desktop that uses it",
        code="proxy_exhausted",
    )
