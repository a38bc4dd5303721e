"""A desktop's way out: what it is, what went through it, and changing it while it runs."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.egress import change_way_out, egress_document
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import EgressChange

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}/egress", tags=["egress"])

ACCESS_BYTES = 128 << 10


@router.get("")
async def show_egress(
    request: Request, found: Annotated[Desktop, Depends(desktop(Permission.READ))]
) -> Response:
    """What its way out was used for since it was made, and its rules. `quota_left`: null without a quota."""
    return JsonResponse(await egress_document(parts_of(request), found))


@router.patch("")
async def change_egress(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.CONTROL))],
    wanted: EgressChange,
) -> Response:
    """In force when this answers, for a desktop that runs, and for every later start. Connections that are
    not allowed any more are closed; with another proxy, all."""
    parts = parts_of(request)
    changed = await change_way_out(parts, request.state.principal, found, wanted)
    return JsonResponse(await egress_document(parts, changed))


@router.get("/access")
async def access_log(
    request: Request, found: Annotated[Desktop, Depends(desktop(Permission.READ))]
) -> Response:
    """The end of its access log, newest last: when, by which way in, host, port, bytes, seconds. Empty unless
    its policy has `access_log`."""
    text = await parts_of(request).fleet.keeper(found.id).access_log(ACCESS_BYTES)
    # The first line may be cut off.
    return JsonResponse({"items": [json.loads(line) for line in text.split("\n") if line.startswith("{")]})
