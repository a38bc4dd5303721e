"""Upstream proxies. A password goes in and never comes out."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from oriel.controller.access import account
from oriel.controller.documents import proxy_document
from oriel.controller.encoding import JsonResponse, before_of, list_of
from oriel.controller.identity import Permission, Principal
from oriel.controller.parts import Parts, parts_of
from oriel.controller.proxy_check import check_proxy
from oriel.controller.store import proxies as store
from oriel.controller.store.proxies import Proxy
from oriel.controller.ways_out import BUILT_IN
from oriel.controller.wishes import ProxyChange, ProxyWish
from oriel.egress.upstream import expand_ports, parse_upstream
from oriel.model.errors import Fault, InvalidError, NotFoundError
from oriel.model.events import utc_now
from oriel.model.secret import Secret

__all__ = ["router"]

router = APIRouter(prefix="/v1/proxies", tags=["proxies"])

Reader = Annotated[Principal, Depends(account(Permission.READ))]
Changer = Annotated[Principal, Depends(account(Permission.CONTROL))]


@router.get("")
async def list_proxies(
    request: Request,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> Response:
    """Yours; for an administrator everyone's."""
    owner_id = None if principal.may(Permission.ADMIN) else principal.user_id
    before = before_of(cursor)
    rows = await parts_of(request).database.read(
        lambda c: store.page(c, owner_id=owner_id, before=before, limit=limit + 1)
    )
    return list_of(rows, limit, proxy_document, lambda row: row.number)


@router.post("", status_code=201)
async def add_proxy(request: Request, principal: Changer, wanted: ProxyWish) -> Response:
    """`url` as the provider gave it: `http://user:password@host:port`, https or socks5 too."""
    parts = parts_of(request)
    _refuse_built_in(wanted.name)
    url = Secret(wanted.url)
    proxy = Proxy(
        id=f"p-{secrets.token_hex(5)}", name=wanted.name, owner_id=principal.user_id, owner=principal.name,
        secret=parts.vault.seal(url), labels=wanted.labels or {}, created_at=utc_now(), **_seen_of(url),
    )  # fmt: skip
    made = await parts.database.write(lambda t: store.add(t, proxy))
    return JsonResponse(proxy_document(made), status_code=201)


@router.get("/{ref}")
async def show_proxy(request: Request, principal: Reader, ref: str) -> Response:
    return JsonResponse(proxy_document(await _find(parts_of(request), principal, ref)))


@router.patch("/{ref}")
async def change_proxy(request: Request, principal: Changer, ref: str, wanted: ProxyChange) -> Response:
    """A new URL is in force for its desktops at their next start, or by PATCH of their egress."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref)
    values: dict[str, Any] = wanted.model_dump(exclude_none=True, include={"name", "labels"})
    if wanted.name is not None:
        _refuse_built_in(wanted.name)
    if wanted.url is not None:
        url = Secret(wanted.url)
        values |= {"secret": parts.vault.seal(url), **_seen_of(url)}
    if wanted.owner is not None:
        principal.require(Permission.ADMIN)
        values["owner_id"] = (await parts.identities.user(wanted.owner)).id
    return JsonResponse(
        proxy_document(await parts.database.write(lambda t: store.change(t, found.id, values)))
    )


@router.delete("/{ref}", status_code=204)
async def delete_proxy(request: Request, principal: Changer, ref: str) -> Response:
    """Refused while a desktop goes out by it."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref)
    await parts.database.write(lambda t: store.remove(t, found))
    return Response(status_code=204)


@router.post("/{ref}/check")
async def check(request: Request, principal: Changer, ref: str) -> Response:
    """Whether it can be reached, takes its password, and which address the world then sees."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref)
    url = expand_ports(parts.vault.open(found.secret).reveal())[0]
    return JsonResponse(await check_proxy(url, parts.settings.echo_url, parts.settings.direct_allow))


async def _find(parts: Parts, principal: Principal, ref: str) -> Proxy:
    found = await parts.database.read(lambda c: store.find(c, ref))
    if found is None or not (principal.may(Permission.ADMIN) or found.owner_id == principal.user_id):
        raise NotFoundError("there is no such proxy", hint="`oriel proxy list` shows yours")
    return found


def _refuse_built_in(name: str) -> None:
    if name in BUILT_IN:
        raise InvalidError.of([Fault("name", f"{name} is the name of a way out that is always there")])


def _seen_of(url: Secret) -> dict[str, Any]:
    """What may be shown of a URL. InvalidError, without a word of it, if it is none."""
    try:
        first = parse_upstream(expand_ports(url.reveal())[0].reveal())
    except InvalidError as error:
        raise InvalidError.of(
            [Fault("url", f"{fault.field} {fault.problem}") for fault in error.faults], hint=error.hint
        ) from None
    return {"address": first.label, "has_password": bool(first.password)}
