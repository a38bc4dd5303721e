"""Signing on at the organisation's provider: there and back."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from oriel.controller.access import address_of, cookie_name
from oriel.controller.api.session import leave_former, set_cookie
from oriel.controller.encoding import JsonResponse
from oriel.controller.middleware import audit
from oriel.controller.parts import Parts, parts_of
from oriel.controller.sign_on import PATH, SIGN_ON_S
from oriel.controller.store import people
from oriel.controller.store.people import User
from oriel.model.errors import AuthError, ForbiddenError, NotFoundError, OrielError, UnavailableError

__all__ = ["router"]

router = APIRouter(prefix="/v1/session", tags=["session"])

# A path of the page, and nothing that a browser could take for another host.
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}\Z")


@router.get("/ways")
async def list_ways(request: Request) -> Response:
    """How people may sign in here, for the page that asks them. `password`: whether anyone has one."""
    parts = parts_of(request)
    oidc = {"title": parts.settings.oidc_title, "url": PATH} if parts.sign_on.offered else None
    password = await parts.database.read(people.any_password)
    return JsonResponse({"password": password, "token": True, "oidc": oidc})


@router.get("/oidc", status_code=303, response_class=RedirectResponse)
async def leave(
    request: Request,
    path: Annotated[str, Query(max_length=500, description="Where in the page to come back to.")] = "/",
) -> Response:
    """To the provider, with what must come back kept in this browser alone."""
    parts = parts_of(request)
    parts.limits.check_failures(address_of(request))
    try:
        url, kept = await parts.sign_on.begin(_back(parts, request), path if _PATH.match(path) else "/")
    except UnavailableError:
        return _refused("unavailable")
    response = _to(url)
    # Lax: it must come along when the provider, another site, sends the browser back.
    response.set_cookie(
        _cookie(request), kept.reveal(), max_age=SIGN_ON_S, path="/", httponly=True, samesite="lax",
        secure=_cookie(request).startswith("__Host-"),
    )  # fmt: skip
    return response


@router.get("/oidc/callback", status_code=303, response_class=RedirectResponse)
async def come_back(request: Request) -> Response:
    """From the provider: a session for whoever it vouches for. What went wrong is told to the page."""
    parts = parts_of(request)
    outcome = "ok"
    try:
        response = await _arrive(request, parts)
    except OrielError as error:
        outcome = error.code
        if isinstance(error, AuthError):
            parts.limits.note_failure(address_of(request))
        response = _refused(_word(error))
    audit(parts, request.scope, action="sign_on", outcome=outcome, seconds=0)
    response.delete_cookie(
        _cookie(request), path="/", httponly=True, samesite="lax",
        secure=_cookie(request).startswith("__Host-"),
    )  # fmt: skip
    return response


async def _arrive(request: Request, parts: Parts) -> Response:
    address = address_of(request)
    parts.limits.check_failures(address)
    kept = request.cookies.get(_cookie(request), "")
    arrival = await parts.sign_on.finish(dict(request.query_params), kept, _back(parts, request))
    user: User = await parts.credentials.of_subject(
        arrival.subject, arrival.wished_name, parts.settings.oidc_role
    )
    await leave_former(request, parts)
    ttl_s = parts.settings.session_ttl_s
    principal, session = await parts.credentials.open_session(user.id, "oidc", ttl_s, address=address)
    request.state.principal = principal
    response = _to(arrival.path)
    set_cookie(request, response, session, ttl_s)
    return response


def _back(parts: Parts, request: Request) -> str:
    return f"{parts.base_url(request)}{PATH}/callback"


def _cookie(request: Request) -> str:
    return f"{cookie_name(request)}-trip"


def _refused(word: str) -> Response:
    return _to(f"/#sign-on={quote(word)}")


def _to(url: str) -> Response:
    return RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})


def _word(error: OrielError) -> str:
    """For the page, which has the sentences."""
    if isinstance(error, UnavailableError | NotFoundError):
        return "unavailable"
    return "nobody" if isinstance(error, ForbiddenError) else "refused"
