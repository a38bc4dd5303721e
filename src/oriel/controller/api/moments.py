"""Pause, resume, fork, snapshots and rewind; and the templates of the host."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from oriel.controller.access import account, desktop
from oriel.controller.api.catalog import ndjson
from oriel.controller.api.desktops import described
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission, Principal, Reach
from oriel.controller.store import listing
from oriel.controller.store.database import Transaction
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.quotas import size_of
from oriel.controller.wishes import ForkWish, RewindWish, SnapshotWish, TemplateWish
from oriel.model.state import State

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["moments"])

Readable = Annotated[Desktop, Depends(desktop(Permission.READ))]
Controllable = Annotated[Desktop, Depends(desktop(Permission.CONTROL))]
Known = Annotated[Principal, Depends(account(Permission.READ))]
ADMIN = [Depends(account(Permission.ADMIN))]
PLACES = "/desktops/{ref}"


@router.post(f"{PLACES}/pause")
async def pause_desktop(request: Request, found: Controllable) -> Response:
    """Paused when this answers, and a virtual machine's memory is on the disk. Opening it wakes it."""
    parts = parts_of(request)
    return described(parts, request, await parts.moments.pause(found.id))


@router.post(f"{PLACES}/resume")
async def resume_desktop(request: Request, found: Controllable) -> Response:
    """Running when this answers, where it was."""
    parts = parts_of(request)
    return described(parts, request, await parts.moments.resume(found.id))


@router.post(f"{PLACES}/fork", status_code=201)
async def fork_desktop(request: Request, found: Controllable, wanted: ForkWish) -> Response:
    """A new desktop as this one is now, or was at `snapshot`: memory and disk, but its own name, session,
    random numbers and way out. It is `creating` in the answer.
    """
    parts, principal = parts_of(request), request.state.principal
    new = await parts.admission.copy_of(found, principal, wanted.name, wanted.proxy)

    def admit(transaction: Transaction) -> None:
        parts.quotas.check(transaction.connection, new.owner_id, size_of(new))

    made = await parts.moments.fork(found, new, wanted.snapshot, admit)
    request.state.desktop, request.state.reach = made.id, Reach.OWN
    return described(parts, request, made, status=201)


@router.get(f"{PLACES}/usage")
async def show_usage(request: Request, found: Readable) -> Response:
    """What it takes of its host now: memory (what it shares in proportion), processor time since it began;
    `by` machine, gateway and keeper. `vmm`: what its VMM counts, if it does (Firecracker)."""
    return JsonResponse(await parts_of(request).fleet.keeper(found.id).usage())


@router.get(f"{PLACES}/snapshots")
async def list_snapshots(request: Request, found: Readable) -> Response:
    """This desktop's, newest first: `{name, at, bytes, seconds}`."""
    items = await parts_of(request).moments.snapshots(found.id)
    return JsonResponse({"items": items, "next": None})


@router.post(f"{PLACES}/snapshots", status_code=201)
async def take_snapshot(request: Request, found: Controllable, wanted: SnapshotWish) -> Response:
    """Keep this moment, memory and disk. A running desktop stands still for `stood_still_s`."""
    name = wanted.name or f"s-{secrets.token_hex(4)}"
    return JsonResponse(await parts_of(request).moments.snapshot(found.id, name), status_code=201)


@router.delete(f"{PLACES}/snapshots/{{name}}", status_code=204)
async def delete_snapshot(request: Request, found: Controllable, name: str) -> Response:
    """In any order: what it shares with other snapshots, forks and desktops stays with them."""
    await parts_of(request).moments.delete_snapshot(found.id, name)
    return Response(status_code=204)


@router.post(f"{PLACES}/rewind")
async def rewind_desktop(request: Request, found: Controllable, wanted: RewindWish) -> Response:
    """As it was at the snapshot, and running, when this answers. What it was before is given up."""
    parts = parts_of(request)
    return described(parts, request, await parts.moments.rewind(found.id, wanted.snapshot))


@router.get("/snapshots")
async def list_all_snapshots(request: Request, principal: Known) -> Response:
    """Of all your desktops whose keeper answers; each with its `desktop`."""
    parts = parts_of(request)
    mine = await parts.database.read(
        lambda c: listing.page(c, owner_id=principal.user_id, before=None, limit=1000)
    )
    items: list[dict[str, Any]] = []
    for one in mine:
        if one.state in (State.RUNNING, State.PAUSED, State.STOPPED):
            items += [{**kept, "desktop": one.name} for kept in await parts.moments.snapshots(one.id)]
    return JsonResponse({"items": sorted(items, key=lambda kept: kept["at"], reverse=True), "next": None})


@router.get("/templates", dependencies=[Depends(account(Permission.READ))])
async def list_templates(request: Request) -> Response:
    """Moments that new virtual machines begin at, newest first. With a `problem`: nothing can any more."""
    return JsonResponse({"items": await parts_of(request).templates.look(), "next": None})


@router.post("/templates", dependencies=ADMIN)
async def build_template(request: Request, wanted: TemplateWish) -> Response:
    """Boot once and keep the moment: lines of JSON, `{phase, message, done?, template?, error?}`."""
    parts = parts_of(request)
    spec = await parts.admission.shape(wanted.model_dump(exclude_none=True))
    lines = parts.fleet.build_template(spec, settle_s=parts.settings.template_settle_s)
    return StreamingResponse(ndjson(lines), media_type="application/x-ndjson")


@router.delete("/templates/{template_id}", status_code=204, dependencies=ADMIN)
async def delete_template(request: Request, template_id: str) -> Response:
    """Desktops that began from it keep what they share with it."""
    parts = parts_of(request)
    await parts.fleet.delete_template(template_id)
    await parts.templates.look()
    return Response(status_code=204)
