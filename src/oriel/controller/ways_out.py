"""A desktop's way out, from names in the database to what its gateway is told."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from oriel.controller.identity import Permission, Principal
from oriel.controller.store import proxies
from oriel.controller.store.desktops import Desktop
from oriel.controller.vault import Vault
from oriel.egress.policy import parse_rule
from oriel.egress.target import TargetError
from oriel.egress.upstream import expand_ports
from oriel.host.settings import Settings
from oriel.model.egress import EgressMode, EgressSpec, Policy
from oriel.model.errors import Fault, NotFoundError

__all__ = ["BUILT_IN", "egress_of", "proxy_fault", "rule_faults"]

BUILT_IN = ("direct", "none")
MAX_RULES = 1000


def proxy_fault(connection: Connection, name: str, principal: Principal) -> Fault | None:
    """Why this principal's desktops cannot go out by `name`. A proxy of somebody else's does not exist."""
    if name in BUILT_IN:
        return None
    found = proxies.find(connection, name)
    mine = found is not None and (principal.may(Permission.ADMIN) or found.owner_id == principal.user_id)
    if found is None or not mine or found.name != name:
        return Fault(
            "proxy", f"there is no proxy {name[:63]!r}: use direct, none or the name of one of yours"
        )
    return None


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


def egress_of(connection: Connection, vault: Vault, settings: Settings, desktop: Desktop) -> EgressSpec:
    """What the desktop's gateway is to do; with the proxy's password, so only ever for its keeper."""
    policy = Policy(allow=desktop.allow, deny=desktop.deny)
    if desktop.proxy in BUILT_IN:
        return EgressSpec(
            mode=EgressMode(desktop.proxy), proxy=desktop.proxy, policy=policy,
            direct_allow=settings.direct_allow,
        )  # fmt: skip
    found = proxies.find(connection, desktop.proxy)
    if found is None:
        raise NotFoundError(
            f"the proxy {desktop.proxy!r} of desktop {desktop.name} is gone",
            hint="give the desktop another one: PATCH /v1/desktops/NAME/egress",
        )
    return EgressSpec(
        mode=EgressMode.PROXY, proxy=found.name, policy=policy, direct_allow=settings.direct_allow,
        upstreams=tuple(expand_ports(vault.open(found.secret).reveal())),
    )  # fmt: skip
