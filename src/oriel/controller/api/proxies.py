"""Upstream proxies, one address or a pool. A password goes in and never comes out."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from oriel.controller.access import account, owned
from oriel.controller.documents import proxy_document
from oriel.controller.egress import change_way_out, egress_document
from oriel.controller.encoding import JsonResponse, before_of, list_of
from oriel.controller.parts import Parts, parts_of
from oriel.controller.proxy_check import check_proxy
from oriel.controller.rights import Permission, Principal
from oriel.controller.store import desktops
from oriel.controller.store import proxies as store
from oriel.controller.store.database import Transaction
from oriel.controller.store.proxies import Proxy, Use
from oriel.controller.store.quotas import Usage
from oriel.controller.ways_out import BUILT_IN, may_use
from oriel.controller.wishes import Assignment, CheckWish, EgressChange, ProxyChange, ProxyWish
from oriel.egress.upstream import expand_pool, parse_upstream
from oriel.model.errors import Fault, ForbiddenError, InvalidError, NotFoundError, OrielError
from oriel.model.events import utc_now
from oriel.model.secret import Secret

__all__ = ["router"]

router = APIRouter(prefix="/v1/proxies", tags=["proxies"])

Reader = Annotated[Principal, Depends(account(Permission.READ))]
_LOG = structlog.get_logger(__name__)
Changer = Annotated[Principal, Depends(account(Permission.CONTROL))]
MOST_FAULTS = 20  # of a long list with one mistake in each line


@router.get("")
async def list_proxies(
    request: Request,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> Response:
    """Yours, and those that are shared with everyone; for an administrator all."""
    owner_id = None if principal.may(Permission.ADMIN) else principal.user_id
    before = before_of(cursor)

    def read(connection: Connection) -> tuple[list[Proxy], list[Use]]:
        rows = store.page(connection, owner_id=owner_id, before=before, limit=limit + 1)
        return rows, store.uses(connection, [row.name for row in rows])

    rows, uses = await parts_of(request).database.read(read)
    return list_of(rows, limit, lambda row: _described(row, uses, principal), lambda row: row.number)


@router.post("", status_code=201)
async def add_proxy(request: Request, principal: Changer, wanted: ProxyWish) -> Response:
    """`url` as the provider gave it: `http://user:password@host:port`, https or socks5 too. A range of ports,
    or several lines, is a pool: each user gets one of its addresses, and the same one again."""
    parts = parts_of(request)
    _check_words(principal, wanted.name, wanted.shared, wanted.exclusive and wanted.failover)
    url = Secret(wanted.url)
    proxy = Proxy(
        id=f"p-{secrets.token_hex(5)}", name=wanted.name, owner_id=principal.user_id, owner=principal.name,
        secret=parts.vault.seal(url), labels=wanted.labels or {}, created_at=utc_now(),
        exclusive=wanted.exclusive, shared=wanted.shared, failover=wanted.failover, **_seen_of(url),
    )  # fmt: skip

    def add(transaction: Transaction) -> Proxy:
        parts.quotas.check(transaction.connection, principal.user_id, Usage(proxies=1))
        return store.add(transaction, proxy)

    made = await parts.database.write(add)
    return JsonResponse(_described(made, [], principal), status_code=201)


@router.get("/{ref}")
async def show_proxy(request: Request, principal: Reader, ref: str) -> Response:
    """With the desktops that go out by it, as far as they are yours."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref, using=True)
    return JsonResponse(await _show(parts, found, principal))


@router.patch("/{ref}")
async def change_proxy(request: Request, principal: Changer, ref: str, wanted: ProxyChange) -> Response:
    """A new URL is in force at once for the desktops that go out by it."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref)
    values: dict[str, Any] = wanted.model_dump(exclude_none=True, exclude={"url", "owner"})
    both = values.get("exclusive", found.exclusive) and values.get("failover", found.failover)
    _check_words(principal, values.get("name", ""), bool(values.get("shared")), both)
    if wanted.url is not None:
        url = Secret(wanted.url)
        values |= {"secret": parts.vault.seal(url), **_seen_of(url)}
    if wanted.owner is not None:
        principal.require(Permission.ADMIN)
        values["owner_id"] = (await parts.credentials.user(wanted.owner)).id

    def change(transaction: Transaction) -> Proxy:
        owner_id = values.get("owner_id", found.owner_id)
        if owner_id != found.owner_id:
            parts.quotas.check(transaction.connection, owner_id, Usage(proxies=1))
        return store.change(transaction, found.id, values)

    changed = await parts.database.write(change)
    if wanted.url is not None or wanted.failover is not None:
        await _in_force(parts, changed)
    return JsonResponse(await _show(parts, changed, principal))


@router.delete("/{ref}", status_code=204)
async def delete_proxy(request: Request, principal: Changer, ref: str) -> Response:
    """Refused while a desktop goes out by it."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref)
    await parts.database.write(lambda t: store.remove(t, found))
    return Response(status_code=204)


@router.post("/{ref}/check")
async def check(request: Request, principal: Changer, ref: str, wanted: CheckWish | None = None) -> Response:
    """Whether it can be reached, takes its password, which address the world then sees, and which ports it
    allows. Of a pool, one address."""
    parts = parts_of(request)
    wanted = wanted or CheckWish()
    found = await _find(parts, principal, ref)
    pool = expand_pool(parts.vault.open(found.secret).reveal())
    if wanted.place >= len(pool):
        raise InvalidError.of([Fault("place", f"must be below {len(pool)}, the number of its addresses")])
    report = await check_proxy(pool[wanted.place], parts.settings, wanted.ports)
    return JsonResponse(report | {"country": parts.countries.of(report["exit_ip"])})


@router.post("/{ref}/assign")
async def assign(request: Request, principal: Changer, ref: str, wanted: Assignment) -> Response:
    """Let a desktop go out by this proxy, at once. Of a pool it gets the address that is its user's, or a
    free one; 409 if none is free."""
    parts = parts_of(request)
    found = await _find(parts, principal, ref, using=True)
    desktop = await owned(parts, principal, wanted.desktop)
    changed = await change_way_out(parts, principal, desktop, EgressChange(proxy=found.name))
    return JsonResponse(await egress_document(parts, changed))


async def _find(parts: Parts, principal: Principal, ref: str, *, using: bool = False) -> Proxy:
    """`using`: one that is shared will do."""
    found = await parts.database.read(lambda c: store.find(c, ref))
    if found is None or not may_use(found, principal):
        raise NotFoundError("there is no such proxy", hint="`oriel proxy list` shows yours")
    if not using and found.owner_id != principal.user_id and not principal.may(Permission.ADMIN):
        raise ForbiddenError("this proxy is not yours", hint="its owner or an administrator may do that")
    return found


async def _show(parts: Parts, proxy: Proxy, principal: Principal) -> dict[str, Any]:
    uses = await parts.database.read(lambda c: store.uses(c, [proxy.name]))
    return _described(proxy, uses, principal)


def _described(proxy: Proxy, uses: list[Use], principal: Principal) -> dict[str, Any]:
    mine = [use for use in uses if use.proxy == proxy.name]
    if not principal.may(Permission.ADMIN):
        seen = [use for use in mine if use.owner == principal.name]
        return proxy_document(proxy, seen, in_use=len({use.place for use in mine}))
    return proxy_document(proxy, mine, in_use=len({use.place for use in mine}))


async def _in_force(parts: Parts, proxy: Proxy) -> None:
    """Tell the gateways of all desktops that go out by it; one that does not answer has it when it does."""

    async def tell(name: str) -> None:
        try:
            desktop = await parts.database.write(lambda t: desktops.forget_exit(t, name))
            await parts.supervisor.apply_egress(desktop.id)
        except OrielError as error:
            _LOG.info("a new way out waits for its desktop", desktop=name, reason=error.message)

    used = await parts.database.read(lambda c: store.uses(c, [proxy.name]))
    await asyncio.gather(*(tell(use.desktop) for use in used))


def _check_words(principal: Principal, name: str, shared: bool, both: bool) -> None:
    if shared:
        principal.require(Permission.ADMIN)
    faults = []
    if name in BUILT_IN:
        faults.append(Fault("name", f"{name} is the name of a way out that is always there"))
    if both:
        faults.append(Fault("failover", "an exclusive proxy's desktops have one address each, or none"))
    if faults:
        raise InvalidError.of(faults)


def _seen_of(url: Secret) -> dict[str, Any]:
    """What may be shown of a URL or a list of them. InvalidError, without a word of it, if it is none."""
    faults: list[Fault] = []
    pool = []
    urls = expand_pool(url.reveal())
    for number, one in enumerate(urls, start=1):
        where = f"line {number}: " if len(urls) > 1 else ""
        try:
            pool.append(parse_upstream(one.reveal()))
        except InvalidError as error:
            faults += [Fault("url", f"{where}{fault.field} {fault.problem}") for fault in error.faults]
            hint = error.hint
    if faults:
        raise InvalidError.of(faults[:MOST_FAULTS], hint=hint)
    return {
        "addresses": [upstream.label for upstream in pool],
        "has_password": any(upstream.password for upstream in pool),
    }
