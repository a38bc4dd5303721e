"""Desktops: create, list, show, change, delete; start and stop."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from oriel.controller.access import account, desktop
from oriel.controller.documents import desktop_document, desktop_json, reduced_document, shared_document
from oriel.controller.encoding import JsonResponse, before_of, list_of
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Permission, Principal, Reach, later
from oriel.controller.store import desktops as store
from oriel.controller.store import listing, shares
from oriel.controller.store.database import Transaction
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.quotas import size_of
from oriel.controller.store.shares import Share
from oriel.controller.wishes import Change, Wish
from oriel.model.errors import Fault, InvalidError, NotFoundError, StateError
from oriel.model.state import State

__all__ = ["described", "router"]

router = APIRouter(prefix="/v1/desktops", tags=["desktops"])

KEY_LIFE_S = 24 * 3600
Readable = Annotated[Desktop, Depends(desktop(Permission.READ))]
Controllable = Annotated[Desktop, Depends(desktop(Permission.CONTROL))]
_WISH = {"requestBody": {"content": {"application/json": {"schema": Wish.model_json_schema()}}}}


@router.post("", status_code=201, openapi_extra=_WISH)
async def create_desktop(
    request: Request, principal: Annotated[Principal, Depends(account(Permission.CONTROL))]
) -> Response:
    """A new desktop. It is `creating` in the answer; its events, or asking again, tell when it runs.

    With an `Idempotency-Key` the same request makes one desktop, however often it is sent in a day.
    """
    parts = parts_of(request)
    raw = await request.body()
    given = _json(raw)
    key, digest = _idempotency_key(request), hashlib.sha256(raw).hexdigest()
    if key:
        known = await parts.database.read(lambda c: store.known_by_key(c, principal.user_id, key, digest))
        if known is not None:
            return await _made_before(parts, request, known)
    async with parts.pool.spare(await parts.admission.admit(given, principal)) as wanted:

        def admit(transaction: Transaction) -> None:
            parts.quotas.check(transaction.connection, wanted.owner_id, size_of(wanted))
            if key:
                before = later(-KEY_LIFE_S)
                store.remember_key(
                    transaction, principal.user_id, key, digest, wanted.id, forget_before=before
                )

        made = await parts.supervisor.create(wanted, admit)
    request.state.desktop = made.id
    structlog.contextvars.bind_contextvars(desktop=made.id)
    return described(parts, request, made, status=201)


@router.get("")
async def list_desktops(
    request: Request,
    principal: Annotated[Principal, Depends(account(Permission.READ))],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> Response:
    """Yours and those shared with you; for an administrator everyone's. Newest first."""
    parts = parts_of(request)
    owner_id = None if principal.may(Permission.ADMIN) else principal.user_id
    before, base, country = before_of(cursor), parts.base_url(request), parts.countries.of

    def read(connection: Connection) -> tuple[list[Desktop], dict[str, Share]]:
        shared = shares.shared_with(connection, principal.user_id) if owner_id else {}
        rows = listing.page(
            connection, owner_id=owner_id, before=before, limit=limit + 1, shared=shared.keys()
        )
        return rows, shared

    rows, shared = await parts.database.read(read)

    def describe(row: Desktop) -> dict[str, Any] | bytes:
        share = shared.get(row.id)
        looked_at = parts.sharing.summary(row.id)
        if share is not None:
            return shared_document(row, base, share.mode) | looked_at
        if looked_at["viewers"]:
            return desktop_document(row, base, country(row.exit_ip)) | looked_at
        return desktop_json(row, base, country(row.exit_ip))

    return list_of(rows, limit, describe, lambda row: row.number)


@router.get("/{ref}")
async def show_desktop(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.READ, guests=True, shared=True))],
) -> Response:
    """One desktop, by id or name."""
    return described(parts_of(request), request, found)


@router.patch("/{ref}")
async def change_desktop(request: Request, found: Controllable, wanted: Change) -> Response:
    """Its name, labels and rules; for an administrator its owner. Its size cannot be changed."""
    parts = parts_of(request)
    values: dict[str, Any] = wanted.model_dump(exclude_none=True, exclude={"owner"})
    if wanted.owner is not None:
        request.state.principal.require(Permission.ADMIN)
        values["owner_id"] = (await _owner(parts, wanted.owner)).id

    def change(transaction: Transaction) -> Desktop:
        owner_id = values.get("owner_id", found.owner_id)
        if owner_id != found.owner_id:
            parts.quotas.check(transaction.connection, owner_id, size_of(found))
            shares.remove_all(transaction, found.id)
        return store.change(transaction, found.id, **values)

    changed = await parts.database.write(change) if values else found
    if changed.clipboard is not found.clipboard:
        # What the porter carries follows the rule it began with; viewers come back by themselves.
        why = StateError("the clipboard's rule has changed", hint="connect again")
        parts.live.end(lambda one: one.desktop == found.id and one.kind == "vnc", why)
    if changed.owner_id != found.owner_id:
        # The new owner has an address of their own, and whoever had a way in from the former has it no more.
        if changed.state not in (State.CREATING, State.DELETING):
            await parts.supervisor.apply_egress(changed.id)
        parts.cut_off(lambda _, desktop: desktop == found.id, NotFoundError("the desktop is somebody else's"))
    return described(parts, request, changed)


@router.delete("/{ref}", status_code=204)
async def delete_desktop(request: Request, found: Controllable) -> Response:
    """Gone with its disk when this answers."""
    parts = parts_of(request)
    await parts.supervisor.delete(found.id)
    parts.credentials.forget()  # its links went with it
    parts.stills.forget(found.id)
    parts.sharing.forget(found.id)
    return Response(status_code=204)


@router.post("/{ref}/start", status_code=202)
async def start_desktop(
    request: Request, found: Annotated[Desktop, Depends(desktop(Permission.CONTROL, shared=True))]
) -> Response:
    """On its way when this answers: `starting`."""
    parts = parts_of(request)
    await parts.room.check(found.memory_mib)
    return described(parts, request, await parts.supervisor.start(found.id), status=202)


@router.post("/{ref}/stop")
async def stop_desktop(request: Request, found: Controllable) -> Response:
    """Stopped when this answers. The disk stays."""
    parts = parts_of(request)
    return described(parts, request, await parts.supervisor.stop(found.id))


def described(parts: Parts, request: Request, row: Desktop, *, status: int = 200) -> JsonResponse:
    """The desktop as whoever asks may see it."""
    principal, base = request.state.principal, parts.base_url(request)
    reach = getattr(request.state, "reach", Reach.OWN)
    headers = {"Location": f"/v1/desktops/{row.id}"} if status == 201 else None
    if principal.desktop:
        document = reduced_document(row, base) | {"access": str(reach)}
    elif reach is Reach.OWN:
        document = desktop_document(row, base, parts.countries.of(row.exit_ip))
    else:
        document = shared_document(row, base, str(reach))
    document |= parts.sharing.summary(row.id)
    return JsonResponse(document, status_code=status, headers=headers)


async def _made_before(parts: Parts, request: Request, desktop_id: str) -> JsonResponse:
    found = await parts.database.read(lambda c: store.find(c, desktop_id))
    if found is None:
        raise NotFoundError(
            "the desktop made with this Idempotency-Key is gone", hint="use a new key to make another"
        )
    return described(parts, request, found, status=201)


async def _owner(parts: Parts, name: str) -> Any:
    try:
        return await parts.credentials.user(name)
    except NotFoundError as error:
        raise InvalidError.of([Fault("owner", error.message)]) from error


def _json(raw: bytes) -> object:
    if not raw.strip():
        return {}
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidError.of([Fault("body", "is not JSON")]) from None


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if len(key) > 128 or not key.isprintable():
        raise InvalidError.of([Fault("Idempotency-Key", "must be at most 128 printable characters")])
    return key
