"""What happens to desktops, as server-sent events, from any moment on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from oriel.controller.access import account, desktop
from oriel.controller.live import Connection as Open
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Permission, Principal, Reach, seconds_until
from oriel.controller.store import events as store
from oriel.controller.store import shares
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.shares import Share
from oriel.model.errors import Fault, InvalidError
from oriel.model.events import Event

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["events"])

HEARTBEAT_S = 15.0
REPLAY_PAGE = 500
GONE = "desktop.gone"
After = Annotated[
    int | None, Query(ge=0, lt=10**18, description="As Last-Event-ID: 0 for all that are kept.")
]
Follow = Annotated[bool, Query(description="Whether to go on with what comes after the kept ones.")]


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Which events a stream has, and until when. `shared`: of others, but shown to this one."""

    principal: Principal
    desktop: str | None = None
    owner_id: str | None = None
    shared: Collection[str] = ()
    reduced: bool = False  # all of them, as for somebody who does not own the desktop
    ends: str | None = None


@router.get("/events")
async def follow_events(
    request: Request,
    principal: Annotated[Principal, Depends(account(Permission.READ))],
    after: After = None,
    follow: Follow = True,
) -> Response:
    """Of every desktop you may see. `Last-Event-ID` is honoured; without it: from now on. It ends when what
    you may see changes: come again then."""
    parts, ends = parts_of(request), [principal.expires_at]
    owner_id = None if principal.may(Permission.ADMIN) else principal.user_id
    shared: dict[str, Share] = {}
    if owner_id is not None:
        shared = await parts.database.read(lambda c: shares.shared_with(c, owner_id))
        ends += [share.expires_at for share in shared.values()]
    scope = _Scope(
        principal=principal, owner_id=owner_id, shared=shared.keys(),
        ends=min((time for time in ends if time is not None), default=None),
    )  # fmt: skip
    return _stream(request, scope, after, follow=follow)


@router.get("/desktops/{ref}/events")
async def follow_desktop(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.READ, guests=True, shared=True))],
    after: After = None,
    follow: Follow = True,
) -> Response:
    """Of one desktop, until it is gone."""
    state = request.state
    reduced = bool(state.principal.desktop) or state.reach is not Reach.OWN
    scope = _Scope(principal=state.principal, desktop=found.id, reduced=reduced, ends=state.ends)
    return _stream(request, scope, after, follow=follow)


def _stream(request: Request, scope: _Scope, after: int | None, *, follow: bool) -> Response:
    parts = parts_of(request)
    last = _last_seen(request, after)
    parts.live.check_room(scope.principal)
    return StreamingResponse(
        _lines(parts, scope, last, follow=follow),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _last_seen(request: Request, after: int | None) -> int | None:
    header = request.headers.get("last-event-id")
    if header is None:
        return after
    if not header.isdecimal() or not header.isascii() or len(header) > 18:
        raise InvalidError.of([Fault("Last-Event-ID", "must be the id of an event, a whole number")])
    return int(header)


async def _lines(parts: Parts, scope: _Scope, last: int | None, *, follow: bool) -> AsyncIterator[bytes]:
    """First what is stored, then, to `follow`, what comes; subscribed before: nothing falls between."""
    chosen: dict[str, Any] = {"desktop": scope.desktop, "owner_id": scope.owner_id, "also": scope.shared}
    connection = Open(scope.desktop or "", "events", scope.principal, "view")
    with parts.live.register(connection), parts.bus.subscribe(**chosen) as subscription:
        # Whoever ends the connection ends the subscription, and so what waits for its next event.
        connection.ended.add_done_callback(lambda _: subscription.end())
        yield b": the stream is open\n\n"
        seen = await parts.database.read(store.newest) if last is None else last
        replaying = last is not None
        while replaying:
            page = await parts.database.read(partial(store.after, seq=seen, limit=REPLAY_PAGE, **chosen))
            for event in page:
                seen = event.seq
                if text := _text(event, scope):
                    yield text
                if scope.desktop is not None and event.kind == GONE:
                    return  # it went while the stream was being opened
            replaying = len(page) == REPLAY_PAGE
        while follow and not connection.ended.done():
            left = seconds_until(scope.ends)
            try:
                live = await subscription.next(HEARTBEAT_S if left is None else min(HEARTBEAT_S, left))
            except TimeoutError:
                if seconds_until(scope.ends) == 0:
                    return
                yield b": still here\n\n"
                continue
            if live is None:
                return
            if live.seq > seen:
                seen = live.seq
                if text := _text(live, scope):
                    yield text
                if scope.desktop is not None and live.kind == GONE:
                    return


def _text(event: Event, scope: _Scope) -> bytes:
    """Who does not own the desktop learns states and steps, and nothing of reasons, ways out or insides."""
    document = event.to_json()
    if scope.reduced or event.desktop in scope.shared:
        if not event.kind.startswith(("state.", "step.", "desktop.")):
            return b""
        seconds = event.data.get("seconds")
        document |= {"message": "", "data": {} if seconds is None else {"seconds": seconds}}
    data = json.dumps(document, separators=(",", ":"))
    return f"id: {event.seq}\ndata: {data}\n\n".encode()
