"""Changing a desktop's way out while it runs, and telling what it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oriel.controller.parts import Parts
from oriel.controller.rights import Permission, Principal
from oriel.controller.store import desktops
from oriel.controller.store.database import Transaction
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.events import record
from oriel.controller.ways_out import BUILT_IN, proxy_fault, rule_faults
from oriel.controller.wishes import EgressChange
from oriel.model.egress import Policy
from oriel.model.errors import ForbiddenError, InvalidError, UnavailableError
from oriel.model.state import State

__all__ = ["change_way_out", "egress_document"]

_NOTHING_YET = {
    "exit_ip": "", "bytes_in": 0, "bytes_out": 0, "connections": 0, "open": 0, "denied": 0,
    "denied_by_reason": {}, "upstream_errors": 0, "upstream_ok": None, "latency_ms": {}, "quota_used": 0,
}  # fmt: skip


async def change_way_out(parts: Parts, principal: Principal, found: Desktop, wanted: EgressChange) -> Desktop:
    """Store what is wanted, then see that the gateway follows it. InvalidError with all faults; StateError if
    no address of the proxy is free; UnavailableError if its keeper does not take it now."""
    faults = rule_faults("allow", wanted.allow or []) + rule_faults("deny", wanted.deny or [])
    if wanted.proxy is not None and wanted.proxy != found.proxy:
        name = wanted.proxy
        fault = await parts.database.read(lambda c: proxy_fault(c, name, principal))
        faults += [fault] if fault else []
    if faults:
        raise InvalidError.of(faults)
    held = _held_after(principal, found, wanted)
    values: dict[str, Any] = wanted.model_dump(exclude_none=True, include={"proxy", "allow", "deny"})

    def store_it(transaction: Transaction) -> Desktop:
        limits = {**found.limits, **wanted.limits(found.limits)}
        # Whoever changes the way out has seen where it led.
        changed = desktops.change(transaction, found.id, **values, limits=limits, held=held, exit_was="")
        record(transaction, changed, "egress.changed", data={"proxy": changed.proxy})
        return changed

    changed = await parts.database.write(store_it)
    if changed.state not in (State.CREATING, State.DELETING):
        await parts.supervisor.apply_egress(found.id)
    return changed


def _held_after(principal: Principal, found: Desktop, wanted: EgressChange) -> tuple[str, ...]:
    """The limits that only administrators change: those that one of them has set on somebody else's desktop.

    ForbiddenError if this change is not theirs to make.
    """
    before, free = asdict(Policy(**found.limits)), asdict(Policy())
    changed = {name: value for name, value in wanted.limits(found.limits).items() if value != before[name]}
    if "quota_round" in changed:
        changed |= {"byte_quota": changed.get("byte_quota", before["byte_quota"])}
    if not principal.may(Permission.ADMIN):
        if taken := sorted(changed.keys() & set(found.held)):
            raise ForbiddenError(
                f"an administrator has set {', '.join(taken)} of this desktop",
                hint="ask an administrator to change it",
                code="limit_held",
            )
        return found.held
    if principal.user_id == found.owner_id:
        return found.held
    mine = {name for name, value in changed.items() if value != free[name]} - {"quota_round"}
    return tuple(sorted((set(found.held) - changed.keys()) | mine))


async def egress_document(parts: Parts, found: Desktop) -> dict[str, Any]:
    mode = found.proxy if found.proxy in BUILT_IN else "proxy"
    document = {"mode": mode, "proxy": found.proxy, **_NOTHING_YET}
    try:  # also of one that does not run: its keeper knows what was counted
        told = (await parts.fleet.keeper(found.id).inspect()).get("egress", {})
        document |= {key: told[key] for key in document if key in told}
    except UnavailableError as error:
        if found.state is State.RUNNING:
            document["problem"] = error.message
    if found.state is not State.RUNNING:
        document |= {"mode": mode, "proxy": found.proxy}  # what it will be: its keeper may not know yet
    document["exit_ip"] = document["exit_ip"] or found.exit_ip
    policy = asdict(Policy(allow=found.allow, deny=found.deny, **found.limits))
    quota = policy["byte_quota"]
    del policy["quota_round"]
    policy["held"] = list(found.held)
    policy["quota_left"] = max(0, quota - document["quota_used"]) if quota else None
    return document | policy | {"exit_was": found.exit_was, "country": parts.countries.of(found.exit_ip)}
