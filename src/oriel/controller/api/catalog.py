"""What the host has: images; the host itself; and who did what."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

import oriel
from oriel.controller.access import account
from oriel.controller.encoding import JsonResponse, before_of, list_of
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Permission, Principal
from oriel.controller.store.events import Search, audit_after, audit_page
from oriel.controller.wishes import DrainWish, ImageWish
from oriel.model.errors import NotFoundError, OrielError

__all__ = ["ndjson", "router"]

router = APIRouter(prefix="/v1", tags=["host"])

ADMIN = [Depends(account(Permission.ADMIN))]
KNOWN = [Depends(account(Permission.READ))]
Known = Annotated[Principal, Depends(account(Permission.READ))]
Limit = Annotated[int, Query(ge=1, le=1000)]
Word = Annotated[str | None, Query(max_length=128)]
Time = Annotated[str | None, Query(pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?Z?)?$")]
EXPORT_PAGE = 500


@router.get("/images")
async def list_images(
    request: Request, principal: Known, limit: Limit = 100, cursor: str | None = None
) -> Response:
    """Golden images. Which desktops use one is told to administrators only."""
    images = await _images(parts_of(request), principal)
    # There are few: a page is cut out of them all.
    numbered = list(enumerate(reversed(images), start=1))[::-1]
    before = before_of(cursor)
    rest = [item for item in numbered if before is None or item[0] < before]
    return list_of(rest[: limit + 1], limit, lambda item: item[1], lambda item: item[0])


@router.get("/images/{image_id}")
async def show_image(request: Request, principal: Known, image_id: str) -> Response:
    for image in await _images(parts_of(request), principal):
        if image["id"] == image_id:
            return JsonResponse(image)
    raise NotFoundError("there is no such image", hint="`oriel image list` shows those there are")


@router.post("/images", dependencies=ADMIN)
async def build_image(request: Request, wanted: ImageWish) -> Response:
    """Build a recipe: lines of JSON, `{phase, message, done?, image?, error?}`, until one is `done`."""
    lines = parts_of(request).fleet.build_image(wanted.recipe)
    return StreamingResponse(ndjson(lines), media_type="application/x-ndjson")


@router.delete("/images/{image_id}", status_code=204, dependencies=ADMIN)
async def delete_image(request: Request, image_id: str) -> Response:
    """Refused while a desktop uses it. Those that wait in the pool go with it."""
    await parts_of(request).pool.give_up(image_id)
    await parts_of(request).fleet.delete_image(image_id)
    return Response(status_code=204)


def _search(
    actor: Word = None, action: Word = None, target: Word = None, since: Time = None, until: Time = None
) -> Search:
    return Search(actor=actor, action=action, target=target, since=since, until=until)


@router.get("/audit", dependencies=ADMIN)
async def list_audit(
    request: Request,
    search: Annotated[Search, Depends(_search)],
    limit: Limit = 100,
    cursor: str | None = None,
) -> Response:
    """Who did what to what, from where. Newest first. Entries are only ever added."""
    before = before_of(cursor)
    rows = await parts_of(request).database.read(
        lambda c: audit_page(c, before=before, limit=limit + 1, search=search)
    )
    return list_of(rows, limit, dict, lambda row: int(row["id"]))


@router.get("/audit/export", dependencies=ADMIN)
async def export_audit(request: Request, search: Annotated[Search, Depends(_search)]) -> Response:
    """All of it as lines of JSON, oldest first, to be kept elsewhere."""
    return StreamingResponse(
        _audit_lines(parts_of(request), search),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": "attachment; filename=audit.ndjson"},
    )


async def _audit_lines(parts: Parts, search: Search) -> AsyncIterator[bytes]:
    after = 0
    while rows := await parts.database.read(
        partial(audit_after, after=after, limit=EXPORT_PAGE, search=search)
    ):
        after = int(rows[-1]["id"])
        yield b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@router.get("/pool", dependencies=KNOWN)
async def show_pool(request: Request) -> Response:
    """Desktops that wait ready, by kind: `wanted`, `ready`, the memory they hold, how many were `taken` from
    here and how many `missed`, and the `problem` if one that is wanted cannot be made."""
    return JsonResponse({"items": parts_of(request).pool.describe(), "next": None})


@router.get("/host")
async def show_host(request: Request, principal: Known) -> Response:
    """The runtimes proven here, and what `oriel doctor` finds (for administrators)."""
    parts = parts_of(request)
    reports = await parts.fleet.runtimes()
    checks: list[dict[str, Any]] = []
    if principal.may(Permission.ADMIN):
        checks = await parts.fleet.checks()
    runtimes = {
        str(report.name): {
            "works": report.works, "isolation": str(report.isolation), "detail": report.detail,
            "hint": report.hint,
        }
        for report in reports
    }  # fmt: skip
    return JsonResponse(
        {
            "version": oriel.__version__,
            "runtimes": runtimes,
            "checks": checks,
            "capacity": asdict(await parts.fleet.capacity()),
            "draining": parts.draining.on,
            "under_way": parts.supervisor.under_way(),
        }
    )


@router.put("/host/drain", dependencies=ADMIN)
async def drain_host(request: Request, wanted: DrainWish) -> Response:
    """Nothing new begins (503 `draining`), what runs goes on. `under_way`: what is just being changed."""
    parts = parts_of(request)
    parts.draining.on = wanted.on
    return JsonResponse({"draining": wanted.on, "under_way": parts.supervisor.under_way()})


@router.post("/host/renew", dependencies=ADMIN)
async def renew_host(request: Request) -> Response:
    """Every keeper is replaced by one of the host service's version, one by one; machines run on."""
    return JsonResponse(await parts_of(request).fleet.renew())


async def _images(parts: Parts, principal: Principal) -> list[dict[str, Any]]:
    """Newest first."""
    images = sorted(await parts.fleet.images(), key=lambda one: str(one.get("created_at", "")), reverse=True)
    if principal.may(Permission.ADMIN):
        return images
    return [
        {key: value for key, value in image.items() if key != "in_use_by"} | {"in_use_by": []}
        for image in images
    ]


async def ndjson(lines: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """What a build tells, a line of JSON each; its failure is the last one."""
    try:
        async for line in lines:
            yield json.dumps(dict(line)).encode() + b"\n"
    except (OrielError, TimeoutError) as error:
        told = error.to_wire() if isinstance(error, OrielError) else {"message": "no word for too long"}
        yield (
            json.dumps({"phase": "failed", "message": told["message"], "done": True, "error": told}).encode()
            + b"\n"
        )
