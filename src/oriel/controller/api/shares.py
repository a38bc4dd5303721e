"""Who else may see or drive a desktop: users it is shared with, and links that were given away."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.documents import link_document, share_document
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Mode, Permission, allowed, later
from oriel.controller.store import shares as store
from oriel.controller.store.database import Transaction
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.events import record
from oriel.controller.store.people import User
from oriel.controller.store.shares import Share
from oriel.controller.wishes import ShareWish
from oriel.model.errors import AuthError, Fault, InvalidError, NotFoundError
from oriel.model.events import utc_now

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}/shares", tags=["sharing"])

Owned = Annotated[Desktop, Depends(desktop(Permission.READ))]
Shareable = Annotated[Desktop, Depends(desktop(Permission.CONTROL))]


@router.get("")
async def list_shares(request: Request, found: Owned) -> Response:
    """Users first, then the links in force. Never what opens a link."""

    def read(connection: Any) -> list[dict[str, Any]]:
        users = [share_document(share) for share in store.shares_of(connection, found.id)]
        return users + [link_document(link) for link in store.links_of(connection, found.id)]

    return JsonResponse({"items": await parts_of(request).database.read(read), "next": None})


@router.post("", status_code=201)
async def add_share(request: Request, found: Shareable, wanted: ShareWish) -> Response:
    """Let a user look at it (`view`) or drive it (`control`), in place of what they might before."""
    parts = parts_of(request)
    user = await _sharer(parts, found, wanted)
    share = Share(
        id=f"s-{secrets.token_hex(5)}", desktop_id=found.id, user_id=user.id, user=user.name,
        mode=wanted.mode, created_at=utc_now(),
        expires_at=None if wanted.expires_in_s is None else later(wanted.expires_in_s),
    )  # fmt: skip

    def add(transaction: Transaction) -> Share:
        made = store.add_share(transaction, share)
        record(transaction, found, "share.added", f"shared with {user.name}", {"mode": share.mode})
        return made

    made = await parts.database.write(add)
    _cut_off(parts, found, user.id)
    return JsonResponse(share_document(made), status_code=201)


@router.delete("/{share_id}", status_code=204)
async def end_share(request: Request, found: Shareable, share_id: str) -> Response:
    """A user's or a link's right ends at once: what they have open is closed."""
    parts = parts_of(request)
    if share_id.startswith("l-"):
        await parts.database.write(lambda t: store.remove_link(t, found.id, share_id))
        parts.cut_off(lambda who, _: who.link == share_id, AuthError("the link was ended"))
        return Response(status_code=204)

    def remove(transaction: Transaction) -> Share:
        gone = store.remove_share(transaction, found.id, share_id)
        record(transaction, found, "share.ended", f"no longer shared with {gone.user}")
        return gone

    gone = await parts.database.write(remove)
    _cut_off(parts, found, gone.user_id)
    return Response(status_code=204)


async def _sharer(parts: Parts, found: Desktop, wanted: ShareWish) -> User:
    try:
        user = await parts.credentials.user(wanted.user)
    except NotFoundError as error:
        raise InvalidError.of([Fault("user", error.message)]) from error
    if user.id == found.owner_id:
        raise InvalidError.of([Fault("user", "owns this desktop already")])
    if Mode(wanted.mode) is Mode.CONTROL and Permission.CONTROL not in allowed(user.role):
        raise InvalidError.of([Fault("mode", f"{user.name} is a {user.role}, who can only look (view)")])
    return user


def _cut_off(parts: Parts, found: Desktop, user_id: str) -> None:
    """What a user has open of this desktop, and their streams of events, which come again."""
    parts.cut_off(
        lambda who, desktop: who.user_id == user_id and not who.link and desktop in (found.id, ""),
        AuthError("what is shared with you has changed"),
    )
