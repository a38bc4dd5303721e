"""Who is at the door: bearer tokens, grants and sessions; where a page that asks must come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request

from oriel.controller.identity import Permission, Principal
from oriel.controller.parts import Parts, parts_of
from oriel.controller.store import desktops
from oriel.controller.store.desktops import Desktop
from oriel.model.errors import AuthError, ForbiddenError, StateError
from oriel.model.state import State

__all__ = [
    "account",
    "address_of",
    "bearer_of",
    "check_origin",
    "cookie_name",
    "desktop",
    "identify",
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
            return parts.tickets.guest(token)
        return await parts.identities.of_token(token)
    session = connection.cookies.get(cookie_name(connection))
    if not session:
        return None
    if connection.scope.get("method") not in SAFE_METHODS:
        # A browser sends the cookie whoever asks it to; only our own page may change something.
        check_origin(connection, parts, required=True)
    return await parts.identities.of_session(session)


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


def desktop(
    permission: Permission, *, guests: bool = False, running: bool = False
) -> Callable[[Request, str], Awaitable[Desktop]]:
    """A dependency: the desktop `ref` of the path, if whoever asks may do this with it.

    `guests`: the holder of a link for it may too. `running`: it must be.
    """

    async def allowed(request: Request, ref: str) -> Desktop:
        principal = await identify(request)
        parts = parts_of(request)
        found = await parts.database.read(lambda c: desktops.find(c, ref))
        found = parts.check_visible(principal, found)
        request.state.desktop = found.id
        if principal.desktop and not guests:
            raise ForbiddenError("a link to this desktop does not allow that", hint="sign in with a token")
        principal.require(permission)
        if running:
            require_running(found)
        return found

    allowed.__dict__["permission"] = permission
    return allowed


def require_running(desktop: Desktop) -> None:
    if desktop.state is not State.RUNNING:
        raise StateError(
            f"the desktop is {desktop.state}: nothing answers in it",
            hint="start it first" if desktop.state in (State.STOPPED, State.FAILED) else "wait until it runs",
        )
