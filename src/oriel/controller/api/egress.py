"""A desktop's way out: what it is, what went through it, and changing it while it runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.identity import Permission
from oriel.controller.parts import Parts, parts_of
from oriel.controller.store import desktops as store
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.events import record
from oriel.controller.ways_out import BUILT_IN, proxy_fault, rule_faults
from oriel.controller.wishes import EgressChange
from oriel.model.errors import InvalidError, UnavailableError
from oriel.model.state import State

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}/egress", tags=["egress"])

_NOTHING_YET = {
    "exit_ip": "", "bytes_in": 0, "bytes_out": 0, "connections": 0, "open": 0, "denied": 0,
    "upstream_errors": 0, "upstream_ok": None, "latency_ms": {},
}  # fmt: skip


@router.get("")
async def show_egress(
    request: Request, found: Annotated[Desktop, Depends(desktop(Permission.READ))]
) -> Response:
    """Counters since its gateway began; of a desktop that does not run, zeros."""
    return JsonResponse(await _described(parts_of(request), found))


@router.patch("")
async def change_egress(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.CONTROL))],
    wanted: EgressChange,
) -> Response:
    """In force at once for a desktop that runs, and for every later start."""
    parts = parts_of(request)
    faults = rule_faults("allow", wanted.allow or []) + rule_faults("deny", wanted.deny or [])
    if wanted.proxy is not None and wanted.proxy != found.proxy:
        name, principal = wanted.proxy, request.state.principal
        fault = await parts.database.read(lambda c: proxy_fault(c, name, principal))
        faults += [fault] if fault else []
    if faults:
        raise InvalidError.of(faults)
    values: dict[str, Any] = wanted.model_dump(exclude_none=True)

    def store_it(transaction: Any) -> Desktop:
        changed = store.change(transaction, found.id, **values)
        record(transaction, changed, "egress.changed", data={"proxy": changed.proxy})
        return changed

    changed = await parts.database.write(store_it) if values else found
    if changed.state not in (State.CREATING, State.DELETING):
        await parts.supervisor.apply_egress(found.id)
    return JsonResponse(await _described(parts, changed))


async def _described(parts: Parts, found: Desktop) -> dict[str, Any]:
    mode = found.proxy if found.proxy in BUILT_IN else "proxy"
    document = {"mode": mode, "proxy": found.proxy, **_NOTHING_YET}
    if found.state is State.RUNNING:
        try:
            told = (await parts.fleet.keeper(found.id).inspect()).get("egress", {})
            document |= {key: told[key] for key in document if key in told}
        except UnavailableError as error:
            document["problem"] = error.message
    return document | {"allow": list(found.allow), "deny": list(found.deny)}
