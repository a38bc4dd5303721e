"""What happens to desktops, as server-sent events, from any moment on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from oriel.controller.access import account, desktop
from oriel.controller.identity import Permission, Principal
from oriel.controller.parts import Parts, parts_of
from oriel.controller.store import events as store
from oriel.controller.store.desktops import Desktop
from oriel.model.errors import Fault, InvalidError
from oriel.model.events import Event

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["events"])

HEARTBEAT_S = 15.0
REPLAY_PAGE = 500
GONE = "desktop.gone"
After = Annotated[int | None, Query(ge=0, description="As Last-Event-ID: 0 for all that are kept.")]
Follow = Annotated[bool, Query(description="Whether to go on with what comes after the kept ones.")]


@router.get("/events")
async def follow_events(
    request: Request,
    principal: Annotated[Principal, Depends(account(Permission.READ))],
    after: After = None,
    follow: Follow = True,
) -> Response:
    """Of every desktop you may see. `Last-Event-ID` is honoured; without it: from now on."""
    owner_id = None if principal.may(Permission.ADMIN) else principal.user_id
    return _stream(request, None, owner_id, after, follow=follow)


@router.get("/desktops/{ref}/events")
async def follow_desktop(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.READ, guests=True))],
    after: After = None,
    follow: Follow = True,
) -> Response:
    """Of one desktop, until it is gone."""
    return _stream(request, found.id, None, after, follow=follow)


def _stream(
    request: Request, desktop_id: str | None, owner_id: str | None, after: int | None, *, follow: bool
) -> Response:
    parts = parts_of(request)
    last = _last_seen(request, after)
    only_states = bool(request.state.principal.desktop)
    return StreamingResponse(
        _lines(parts, desktop_id, owner_id, last, only_states=only_states, follow=follow),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _last_seen(request: Request, after: int | None) -> int | None:
    header = request.headers.get("last-event-id")
    if header is None:
        return after
    if not header.isdecimal() or len(header) > 18:
        raise InvalidError.of([Fault("Last-Event-ID", "must be the id of an event, a whole number")])
    return int(header)


async def _lines(
    parts: Parts,
    desktop_id: str | None,
    owner_id: str | None,
    last: int | None,
    *,
    only_states: bool,
    follow: bool,
) -> AsyncIterator[bytes]:
    """First what is stored, then, to `follow`, what comes; subscribed before: nothing falls between."""
    with parts.bus.subscribe(desktop=desktop_id, owner_id=owner_id) as subscription:
        yield b": the stream is open\n\n"
        seen = await parts.database.read(store.newest) if last is None else last
        replaying = last is not None
        while replaying:
            page = await parts.database.read(
                partial(store.after, seq=seen, desktop=desktop_id, owner_id=owner_id, limit=REPLAY_PAGE)
            )
            for event in page:
                seen = event.seq
                if text := _text(event, only_states):
                    yield text
            replaying = len(page) == REPLAY_PAGE
        while follow:
            try:
                live = await subscription.next(HEARTBEAT_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if live is None:
                return
            if live.seq > seen:
                seen = live.seq
                if text := _text(live, only_states):
                    yield text
                if desktop_id is not None and live.kind == GONE:
                    return


def _text(event: Event, only_states: bool) -> bytes:
    """A guest learns states and steps, and nothing of reasons, ways out or insides."""
    document = event.to_json()
    if only_states:
        if not event.kind.startswith(("state.", "step.", "desktop.")):
            return b""
        seconds = event.data.get("seconds")
        document |= {"message": "", "data": {} if seconds is None else {"seconds": seconds}}
    data = json.dumps(document, separators=(",", ":"))
    return f"id: {event.seq}\ndata: {data}\n\n".encode()
