"""Whether we live, whether we are ready, how much there is to do; and the API's own description."""

from __future__ import annotations

import html
from collections import Counter

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

import oriel
from oriel.controller.access import account, bearer_of
from oriel.controller.egress_metrics import ask_keepers, render_egress
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission, Role
from oriel.controller.store import desktops
from oriel.controller.vmm_metrics import render_vmm
from oriel.model.errors import UnavailableError

__all__ = ["router"]

router = APIRouter(tags=["status"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return JsonResponse({"status": "ok", "version": oriel.__version__})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 once the database and the host's service answer and every desktop has been looked at."""
    parts = parts_of(request)
    await parts.database.read(desktops.count_states)
    await parts.fleet.occupants()
    if not parts.supervisor.adopted.is_set():
        raise UnavailableError("the desktops are still being looked at", hint="try again in a moment")
    return JsonResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """For Prometheus. To everybody the controller's own figures; with a bearer token also what goes out of
    its user's desktops and what their VMMs count, by their ids: of all desktops, if that is an
    administrator."""
    parts = parts_of(request)
    each = b""
    if bearer_of(request):
        principal = await account(Permission.READ)(request)
        owner_id = None if principal.role == Role.ADMIN else principal.user_id
        running = await parts.database.read(lambda c: desktops.running(c, owner_id))
        inspected = await ask_keepers(parts.fleet, running)
        each = render_egress(inspected) + render_vmm(inspected)
    states: Counter[str] = Counter(await parts.database.read(desktops.count_states))
    parts.metrics.note_host(await parts.fleet.capacity(), draining=parts.draining.on)
    parts.metrics.note_pool(parts.pool.describe())
    text = parts.metrics.render(states, parts.live.count(), parts.bus.listeners)
    return Response(text + each, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The API as one page, from its own description: no script, nothing from elsewhere."""
    schema = request.app.openapi()
    rows = []
    for path, verbs in schema["paths"].items():
        for verb, about in verbs.items():
            told = html.escape(about.get("description") or about.get("summary") or "")
            rows.append(f"<tr><td>{verb.upper()}<td><code>{html.escape(path)}</code><td>{told}")
    return HTMLResponse(_PAGE.format(version=html.escape(oriel.__version__), rows="\n".join(rows)))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Oriel API</title>
<h1>Oriel API {version}</h1>
<p>JSON over HTTP. Send <code>Authorization: Bearer TOKEN</code>. Errors are problem details (RFC 9457).
The full description, with every field: <a href="/openapi.json">openapi.json</a>.</p>
<table>
<tr><th>Method<th>Path<th>Does
{rows}
</table>
</html>
"""
