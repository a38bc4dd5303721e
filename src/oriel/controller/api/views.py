"""Ways to see a desktop: tickets, and its still picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import address_of, desktop, reach_into
from oriel.controller.documents import reduced_document
from oriel.controller.encoding import JsonResponse
from oriel.controller.links import FROM_S
from oriel.controller.parts import parts_of
from oriel.controller.rights import Mode, Permission, Principal, Reach, later
from oriel.controller.store.desktops import Desktop
from oriel.controller.tickets import Pass
from oriel.controller.wishes import Redemption, TicketWish
from oriel.model.errors import AuthError, ForbiddenError

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["view"])

Seen = Annotated[Desktop, Depends(desktop(Permission.READ, guests=True, shared=True))]


@router.post("/desktops/{ref}/tickets", status_code=201)
async def create_ticket(request: Request, found: Seen, wanted: TicketWish) -> Response:
    """A right to see (`view`) or drive (`control`) it: for one connection, soon; or for one other person,
    who redeems it by opening `viewer_url`. One that waits for longer than five minutes is a link: it is
    listed among the desktop's shares, where it can be ended. Only who owns the desktop gives it to others."""
    parts = parts_of(request)
    principal: Principal = request.state.principal
    mode, reach = Mode(wanted.mode), request.state.reach
    if mode is Mode.CONTROL:
        principal.require(Permission.CONTROL)
        if reach is Reach.VIEW:
            raise ForbiddenError("it is shared with you to look at", hint="ask for a ticket to view")
    ttl_s = wanted.ttl_s or parts.settings.ticket_ttl_s
    owns = reach is Reach.OWN
    if ttl_s > FROM_S and owns:
        link, secret = await parts.links.make(found, mode, principal, ttl_s)
        ends = link.expires_at
    else:
        ttl_s = min(ttl_s, FROM_S)
        secret = parts.tickets.issue(
            Pass(
                desktop=found.id, mode=mode, principal=principal, passed_on=owns, generation=found.generation
            ),
            ttl_s,
        )
        ends = later(ttl_s)
    ticket = secret.reveal()
    document = {
        "ticket": ticket,
        "viewer_url": f"{parts.base_url(request)}/desktops/{found.name}#ticket={ticket}",
        "expires_at": ends,
        "mode": str(mode),
    }
    return JsonResponse(document, status_code=201)


@router.post("/tickets/redeem")
async def redeem_ticket(request: Request, wanted: Redemption) -> Response:
    """A grant for a ticket: with it as bearer token its holder may ask for further tickets for this desktop,
    until it ends, is ended, or the desktop goes."""
    parts = parts_of(request)
    address = address_of(request)
    parts.limits.check_failures(address)
    try:
        guest, grant = await parts.links.open(wanted.ticket)
    except AuthError:
        parts.limits.note_failure(address)
        raise
    request.state.principal = guest
    found, reach, ends = await reach_into(parts, guest, guest.desktop)
    request.state.desktop = found.id
    return JsonResponse(
        {
            "desktop": reduced_document(found, parts.base_url(request)),
            "mode": str(reach),
            "grant": grant.reveal(),
            "expires_at": ends,
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
