"""Who looks at a desktop, and who drives it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission
from oriel.controller.sharing import Circle
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import Control
from oriel.model.errors import Fault, InvalidError

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}", tags=["sharing"])

Seen = Annotated[Desktop, Depends(desktop(Permission.READ, shared=True))]
Controlled = Annotated[Desktop, Depends(desktop(Permission.CONTROL, shared=True))]


@router.get("/control")
async def show_control(request: Request, found: Seen) -> Response:
    """`{viewers, holder, requests}`: who looks, whose id drives, whose ids ask to."""
    return JsonResponse(parts_of(request).sharing.circle(found.id).to_json())


@router.post("/control")
async def change_control(request: Request, found: Controlled, wanted: Control) -> Response:
    """For programs: take the lease, ask for it, or hand it on. Answers as GET does, with `you`."""
    circle = parts_of(request).sharing.circle(found.id)
    viewer = circle.program(request.state.principal)
    if wanted.action == "take":
        circle.lease.take(viewer)
    elif wanted.action == "request":
        circle.lease.request(viewer)
    elif wanted.action == "withdraw":
        circle.lease.withdraw(viewer)
    else:
        circle.lease.give(viewer, None if wanted.to is None else _named(circle, wanted.to))
    return JsonResponse(circle.to_json() | {"you": viewer.id})


def _named(circle: Circle, viewer_id: str) -> Any:
    found = circle.viewers.get(viewer_id)
    if found is None:
        raise InvalidError.of([Fault("to", "is nobody who looks at this desktop")])
    return found
