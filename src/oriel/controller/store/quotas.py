"""How much one user may have: counted in the transaction that adds to it, so that no two slip in at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from oriel.controller.store.desktops import Desktop
from oriel.controller.store.tables import desktops, proxies, users
from oriel.model.errors import Fault, QuotaError

__all__ = ["FIELDS", "Quotas", "Usage", "size_of", "usage_of"]

FIELDS = ("desktops", "vcpus", "memory_mib", "disk_gib", "proxies")
ADMIN = "admin"
_WORDS = {
    "desktops": "desktops", "vcpus": "virtual CPUs", "memory_mib": "MiB of memory", "disk_gib": "GiB of disk",
    "proxies": "proxies",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a user has, or is about to get: the sums over all of their desktops, running or not."""

    desktops: int = 0
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0
    proxies: int = 0


def usage_of(connection: Connection, user_id: str) -> Usage:
    query = select(
        func.count(), *(func.coalesce(func.sum(desktops.c[name]), 0) for name in FIELDS[1:4])
    ).where(desktops.c.owner_id == user_id)
    count, vcpus, memory_mib, disk_gib = connection.execute(query).one()
    known = connection.execute(
        select(func.count()).select_from(proxies).where(proxies.c.owner_id == user_id)
    ).scalar()
    return Usage(
        desktops=int(count), vcpus=int(vcpus), memory_mib=int(memory_mib), disk_gib=int(disk_gib),
        proxies=int(known or 0),
    )  # fmt: skip


def size_of(desktop: Desktop) -> Usage:
    """What one desktop adds."""
    return Usage(desktops=1, vcpus=desktop.vcpus, memory_mib=desktop.memory_mib, disk_gib=desktop.disk_gib)


class Quotas:
    """`defaults`: what users may have whose own quota says nothing of it; 0 for as much as they like."""

    def __init__(self, defaults: Mapping[str, int]) -> None:
        self._defaults = {name: defaults.get(name, 0) for name in FIELDS}

    def limits(self, role: str, own: Mapping[str, int]) -> dict[str, int | None]:
        """What a user may have at most, None for no limit. The defaults do not bind administrators."""
        general = {} if role == ADMIN else {name: most for name, most in self._defaults.items() if most}
        return {name: own.get(name, general.get(name)) for name in FIELDS}

    def check(self, connection: Connection, user_id: str, more: Usage) -> None:
        """QuotaError, naming every field, if `more` does not fit beside what the user has."""
        row = connection.execute(select(users.c.role, users.c.quota).where(users.c.id == user_id)).first()
        if row is None:
            return
        limits = self.limits(row.role, row.quota or {})
        have = usage_of(connection, user_id)
        faults = []
        for name in FIELDS:
            asked, has, most = getattr(more, name), getattr(have, name), limits[name]
            if asked and most is not None and has + asked > most:
                faults.append(
                    Fault(name, f"{has} of {most} {_WORDS[name]} are used, {asked} more are asked for")
                )
        if faults:
            raise QuotaError.of(faults)
