"""Who is at the door: bearer tokens, grants and sessions; where a page that asks must come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Connection
from starlette.requests import HTTPConnection, Request

from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Mode, Permission, Principal, Reach
from oriel.controller.store import desktops, shares
from oriel.controller.store.desktops import Desktop
from oriel.controller.store.shares import Share
from oriel.model.errors import AuthError, ForbiddenError, NotFoundError, StateError
from oriel.model.state import State

__all__ = [
    "account",
    "address_of",
    "bearer_of",
    "check_origin",
    "cookie_name",
    "desktop",
    "identify",
    "owned",
    "reach_into",
    "require_running",
]

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def cookie_name(connection: HTTPConnection) -> str:
    """With the prefix by which browsers hold it to this host, where they accept that: over https."""
    return "__Host-oriel" if connection.url.scheme in ("https", "wss") else "oriel"


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"


def bearer_of(connection: HTTPConnection) -> str:
    """The bearer token of the request, "" if it has none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def check_origin(connection: HTTPConnection, parts: Parts, *, required: bool) -> None:
    """ForbiddenError if the page that asks is not ours; or, if `required`, does not say where it is from."""
    origin = connection.headers.get("origin")
    if origin is None and not required:
        return
    if origin is not None and _is_ours(origin, connection, parts):
        return
    raise ForbiddenError(
        "this request comes from a page of another site",
        hint="open Oriel's own page, or add that site to allowed_origins",
        code="foreign_origin",
    )


def _is_ours(origin: str, connection: HTTPConnection, parts: Parts) -> bool:
    allowed = [*parts.settings.allowed_origins, parts.settings.public_url]
    if origin in [one.rstrip("/") for one in allowed if one]:
        return True
    page = urlsplit(origin)
    host = connection.headers.get("host", "")
    return page.scheme in ("http", "https") and bool(host) and page.netloc.lower() == host.lower()


async def identify(connection: HTTPConnection) -> Principal:
    """Whoever asks. AuthError if that is nobody we know, BusyError if they ask too often."""
    parts = parts_of(connection)
    address = address_of(connection)
    parts.limits.check_failures(address)
    try:
        principal = await _recognise(connection, parts)
    except AuthError:
        parts.limits.note_failure(address)
        raise
    if principal is None:
        raise AuthError("say who you are", hint="send `Authorization: Bearer TOKEN`, or sign in on the page")
    parts.limits.take(principal.key)
    connection.state.principal = principal
    return principal


async def _recognise(connection: HTTPConnection, parts: Parts) -> Principal | None:
    if token := bearer_of(connection):
        if token.startswith("grant_"):
            return await parts.credentials.of_grant(token)
        return await parts.credentials.of_token(token)
    session = connection.cookies.get(cookie_name(connection))
    if not session:
        return None
    if connection.scope.get("method") not in SAFE_METHODS:
        # A browser sends the cookie whoever asks it to; only our own page may change something.
        check_origin(connection, parts, required=True)
    return await parts.credentials.of_session(session)


def account(permission: Permission) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: someone with an account and this permission."""

    async def known(request: Request) -> Principal:
        principal = await identify(request)
        if principal.desktop:
            raise ForbiddenError("a link to one desktop does not open this", hint="sign in with a token")
        principal.require(permission)
        return principal

    known.__dict__["permission"] = permission
    return known


async def reach_into(parts: Parts, principal: Principal, ref: str) -> tuple[Desktop, Reach, str | None]:
    """The desktop `ref`, how far this one reaches into it, and until when that is (None: without an end).

    NotFoundError for what does not exist, and just the same for what is somebody else's.
    """

    def look(connection: Connection) -> tuple[Desktop | None, Share | None]:
        found = desktops.find(connection, ref)
        if found is None or principal.desktop or found.owner_id == principal.user_id:
            return found, None
        return found, shares.share_for(connection, found.id, principal.user_id)

    found, share = await parts.database.read(look)
    if found is not None:
        if principal.desktop:
            if principal.desktop == found.id:
                reach = Reach.CONTROL if principal.may(Permission.CONTROL) else Reach.VIEW
                return found, reach, principal.expires_at
        elif found.owner_id == principal.user_id or principal.may(Permission.ADMIN):
            return found, Reach.OWN, principal.expires_at
        elif share is not None:
            ends = [time for time in (share.expires_at, principal.expires_at) if time is not None]
            return found, Reach.CONTROL if share.mode == Mode.CONTROL else Reach.VIEW, min(ends, default=None)
    raise NotFoundError("there is no such desktop", hint="`oriel list` shows yours")


def desktop(
    permission: Permission, *, guests: bool = False, shared: bool = False, running: bool = False
) -> Callable[[Request, str], Awaitable[Desktop]]:
    """A dependency: the desktop `ref` of the path, if whoever asks may do this with it.

    `guests`: the holder of a link for it may too. `shared`: those it is shared with may, as far as their
    share goes. `running`: it must be; one that is paused wakes.
    """

    async def permitted(request: Request, ref: str) -> Desktop:
        principal = await identify(request)
        parts = parts_of(request)
        found, reach, ends = await reach_into(parts, principal, ref)
        request.state.desktop, request.state.reach, request.state.ends = found.id, reach, ends
        request.state.owner = found.owner_id
        structlog.contextvars.bind_contextvars(desktop=found.id)
        if principal.desktop and not guests:
            raise ForbiddenError("a link to this desktop does not allow that", hint="sign in with a token")
        principal.require(permission)
        if not principal.desktop and reach is not Reach.OWN:
            _require_share(permission, reach, shared=shared)
        if running:
            found = await parts.moments.awake(found)
            require_running(found)
            parts.live.touch(found.id)
        return found

    permitted.__dict__["permission"] = permission
    return permitted


async def owned(parts: Parts, principal: Principal, ref: str) -> Desktop:
    """The desktop `ref` that a body names. NotFoundError or ForbiddenError unless this one owns it."""
    found, reach, _ = await reach_into(parts, principal, ref)
    if reach is not Reach.OWN:
        _require_share(Permission.CONTROL, reach, shared=False)
    return found


def _require_share(permission: Permission, reach: Reach, *, shared: bool) -> None:
    if not shared:
        raise ForbiddenError("only the desktop's owner may do that", hint="ask whoever shared it with you")
    if permission is not Permission.READ and reach is not Reach.CONTROL:
        raise ForbiddenError("it is shared with you to look at", hint="ask its owner to let you control it")


def require_running(desktop: Desktop) -> None:
    if desktop.state is not State.RUNNING:
        raise StateError(
            f"the desktop is {desktop.state}: nothing answers in it",
            hint="start it first" if desktop.state in (State.STOPPED, State.FAILED) else "wait until it runs",
        )
