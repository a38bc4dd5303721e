"""A desktop's way out, from names in the database to what its gateway is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from oriel.controller.rights import Permission, Principal
from oriel.controller.store import proxies
from oriel.controller.store.desktops import Desktop
from oriel.controller.vault import Vault
from oriel.egress.policy import parse_rule
from oriel.egress.target import TargetError
from oriel.egress.upstream import expand_pool
from oriel.host.settings import Settings
from oriel.model.egress import EgressMode, EgressSpec, Policy
from oriel.model.errors import Fault, NotFoundError

__all__ = ["BUILT_IN", "egress_of", "may_use", "proxy_fault", "rule_faults", "ways_of"]

BUILT_IN = ("direct", "none")
MAX_RULES = 1000


def proxy_fault(connection: Connection, name: str, principal: Principal) -> Fault | None:
    """Why this principal's desktops cannot go out by `name`.

    A proxy of somebody else's does not exist, unless it is shared.
    """
    if name in BUILT_IN:
        return None
    found = proxies.find(connection, name)
    if found is None or found.name != name or not may_use(found, principal):
        return Fault(
            "proxy", f"there is no proxy {name[:63]!r}: use direct, none or the name of one of yours"
        )
    return None


def may_use(proxy: proxies.Proxy, principal: Principal) -> bool:
    return proxy.shared or proxy.owner_id == principal.user_id or principal.may(Permission.ADMIN)


def rule_faults(field: str, rules: Sequence[str]) -> list[Fault]:
    """What is wrong with an allow or deny list."""
    if len(rules) > MAX_RULES:
        return [Fault(field, f"must have at most {MAX_RULES} entries")]
    faults = []
    for index, rule in enumerate(rules):
        try:
            parse_rule(rule)
        except TargetError as error:
            faults.append(Fault(f"{field}.{index}", str(error)))
    return faults


def ways_of(connection: Connection, desktop: Desktop) -> Sequence[str]:
    """By what the desktop may go out: labels of its upstreams, or `direct`."""
    found = None if desktop.proxy in BUILT_IN else proxies.find(connection, desktop.proxy)
    if found is None:
        return (desktop.proxy,)
    return found.addresses if found.failover else (found.addresses[desktop.place],)


def egress_of(connection: Connection, vault: Vault, settings: Settings, desktop: Desktop) -> EgressSpec:
    """What the desktop's gateway is to do; with the proxy's password, so only ever for its keeper."""
    common = EgressSpec(
        proxy=desktop.proxy,
        policy=Policy(allow=desktop.allow, deny=desktop.deny, **desktop.limits),
        direct_allow=settings.direct_allow,
        echo_url=settings.echo_url,
    )
    if desktop.proxy in BUILT_IN:
        return replace(common, mode=EgressMode(desktop.proxy))
    found = proxies.find(connection, desktop.proxy)
    if found is None:
        raise NotFoundError(
            f"the proxy {desktop.proxy!r} of desktop {desktop.name} is gone",
            hint="give the desktop another one: PATCH /v1/desktops/NAME/egress",
        )
    pool = expand_pool(vault.open(found.secret).reveal())
    mine = pool[desktop.place]
    others = [url for url in pool if url != mine] if found.failover else []
    return replace(common, mode=EgressMode.PROXY, upstreams=(mine, *others), failover=found.failover)
