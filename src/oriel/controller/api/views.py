"""Ways to see a desktop: tickets, and its still picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import address_of, desktop
from oriel.controller.documents import reduced_document
from oriel.controller.encoding import JsonResponse
from oriel.controller.identity import Permission, Principal, later
from oriel.controller.parts import parts_of
from oriel.controller.store import desktops as store
from oriel.controller.store.desktops import Desktop
from oriel.controller.tickets import Mode
from oriel.controller.wishes import Redemption, TicketWish
from oriel.model.errors import AuthError, NotFoundError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["view"])

Seen = Annotated[Desktop, Depends(desktop(Permission.READ, guests=True))]


@router.post("/desktops/{ref}/tickets", status_code=201)
async def create_ticket(request: Request, found: Seen, wanted: TicketWish) -> Response:
    """A right to see (`view`) or drive (`control`) it: for one connection, soon; or for one other person,
    who redeems it by opening `viewer_url`."""
    parts = parts_of(request)
    principal: Principal = request.state.principal
    mode = Mode(wanted.mode)
    if mode is Mode.CONTROL:
        principal.require(Permission.CONTROL)
    ttl_s = wanted.ttl_s or parts.settings.ticket_ttl_s
    ticket = parts.tickets.issue(found.id, mode, principal, ttl_s).reveal()
    document = {
        "ticket": ticket,
        "viewer_url": f"{parts.base_url(request)}/desktops/{found.name}#ticket={ticket}",
        "expires_at": later(ttl_s),
        "mode": str(mode),
    }
    return JsonResponse(document, status_code=201)


@router.post("/tickets/redeem")
async def redeem_ticket(request: Request, wanted: Redemption) -> Response:
    """A grant for a ticket: with it as bearer token its holder may ask for further tickets for this desktop,
    until it ends or the desktop goes."""
    parts = parts_of(request)
    address = address_of(request)
    parts.limits.check_failures(address)
    try:
        right, grant = parts.tickets.redeem(wanted.ticket, parts.settings.grant_ttl_s)
    except AuthError:
        parts.limits.note_failure(address)
        raise
    found = await parts.database.read(lambda c: store.find(c, right.desktop))
    if found is None:
        raise NotFoundError("the desktop of this ticket is gone")
    request.state.principal = parts.tickets.guest(grant.reveal())
    request.state.desktop = found.id
    return JsonResponse(
        {
            "desktop": reduced_document(found, parts.base_url(request)),
            "mode": str(right.mode),
            "grant": grant.reveal(),
            "expires_at": later(parts.settings.grant_ttl_s),
        }
    )


@router.get("/desktops/{ref}/still")
async def show_still(request: Request, found: Seen) -> Response:
    """A small PNG of its screen, seconds old; of a stopped desktop its last one. 204 if there is none."""
    still = await parts_of(request).stills.get(found)
    if still is None:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    headers = {"ETag": still.etag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == still.etag:
        return Response(status_code=304, headers=headers)
    return Response(still.png, media_type="image/png", headers=headers)
