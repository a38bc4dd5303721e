"""The clipboard of a desktop: text, markup and a picture, as far as the desktop's rule lets it go."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.guest import Guest
from oriel.controller.parts import Parts, parts_of
from oriel.controller.png import cleaned
from oriel.controller.rights import Permission
from oriel.controller.store import desktops as store
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import Copied
from oriel.model.clipboard import HTML, IMAGE, MOST_BYTES, TEXT, Way
from oriel.model.errors import Fault, ForbiddenError, InvalidError, NotFoundError, WireError

__all__ = ["router", "way_of"]

router = APIRouter(prefix="/v1/desktops/{ref}/computer/clipboard", tags=["computer"])

# The page needs it beside its own connection, for guests too.
Handled = Annotated[Desktop, Depends(desktop(Permission.CONTROL, guests=True, shared=True, running=True))]
Viewer = Annotated[str | None, Query(max_length=64)]
NOTHING = 204
NAMES = {TEXT: "text", HTML: "html", IMAGE: "image"}


async def way_of(parts: Parts, desktop_id: str) -> Way:
    """Which way it may go now."""
    found = await parts.database.read(lambda c: store.find(c, desktop_id))
    return found.clipboard if found is not None else Way.OFF


@router.get("")
async def get_clipboard(request: Request, found: Handled) -> Response:
    """`{text, html, image, too_large}`: text and markup as they are (`html` null if there is none), whether
    there is a picture, and what is longer than is handed on. Never show a desktop's markup as a page."""
    clip = await _gives(request, found).clipboard((TEXT, HTML))
    document = {
        "text": clip.text(TEXT) or "",
        "html": clip.text(HTML),
        "image": IMAGE in clip.offered,
        "too_large": [NAMES[name] for name in clip.too_large],
    }
    return JsonResponse(document)


@router.get("/image", response_class=Response)
async def get_clipboard_image(request: Request, found: Handled) -> Response:
    """The picture, as PNG."""
    clip = await _gives(request, found).clipboard((IMAGE,))
    if clip.too_large:
        raise InvalidError(
            f"the picture is longer than {MOST_BYTES[IMAGE] >> 20} MiB",
            hint="save it in a file in the desktop and copy that",
            code="too_large",
        )
    if IMAGE not in clip.parts:
        raise NotFoundError("there is no picture on the clipboard")
    try:
        picture = await asyncio.to_thread(cleaned, clip.parts[IMAGE])
    except ValueError as error:
        raise WireError(f"what the desktop calls a picture is none: {error}") from error
    return Response(picture.data, media_type=IMAGE, headers={"Content-Disposition": "attachment"})


@router.put("", status_code=NOTHING)
async def set_clipboard(request: Request, found: Handled, wanted: Copied) -> Response:
    """What is pasted next. Only whoever drives puts something there."""
    texts = {TEXT: wanted.text, HTML: wanted.html}
    parts = {name: text.encode("utf-8", "replace") for name, text in texts.items() if text is not None}
    if not parts:
        raise InvalidError.of([Fault("text", "is missing: give text, html, or both")])
    if long := [name for name, data in parts.items() if len(data) > MOST_BYTES[name]]:
        raise InvalidError.of(
            [Fault(NAMES[name], f"is longer than {MOST_BYTES[name] >> 20} MiB") for name in long],
            hint="put it into the desktop as a file",
        )
    await _takes(request, found, wanted.viewer).set_clipboard(parts)
    return Response(status_code=NOTHING)


@router.put("/image", status_code=NOTHING)
async def set_clipboard_image(request: Request, found: Handled, viewer: Viewer = None) -> Response:
    """A picture that is pasted next: the body, PNG."""
    guest = _takes(request, found, viewer)
    try:
        picture = await asyncio.to_thread(cleaned, await request.body())
    except ValueError as error:
        fault = Fault("body", f"is no picture that can be taken: {error}")
        raise InvalidError.of([fault], hint="send PNG, of at most 32 million pixels") from error
    await guest.set_clipboard({IMAGE: picture.data})
    return Response(status_code=NOTHING)


def _gives(request: Request, found: Desktop) -> Guest:
    if not found.clipboard.gives:
        raise _closed("out of", found)
    return Guest(parts_of(request).fleet.keeper(found.id))


def _takes(request: Request, found: Desktop, viewer_id: str | None) -> Guest:
    """Once whoever asks drives."""
    if not found.clipboard.takes:
        raise _closed("into", found)
    circle, principal = parts_of(request).sharing.circle(found.id), request.state.principal
    viewer = circle.of_session(viewer_id, principal) if viewer_id else circle.program(principal)
    circle.lease.require(viewer)
    return Guest(parts_of(request).fleet.keeper(found.id))


def _closed(way: str, found: Desktop) -> ForbiddenError:
    return ForbiddenError(
        f"nothing goes {way} this desktop by its clipboard, which is {found.clipboard!s}",
        hint=f'its owner may change that: PATCH /v1/desktops/{found.name} {{"clipboard": "both"}}',
        code="clipboard_closed",
    )
