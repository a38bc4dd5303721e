"""The page's session: a cookie in place of a token that scripts could read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import account, address_of, check_origin, cookie_name, identify
from oriel.controller.encoding import JsonResponse
from oriel.controller.identity import Permission, Principal
from oriel.controller.parts import parts_of
from oriel.controller.wishes import SignIn
from oriel.model.errors import AuthError

__all__ = ["router"]

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.post("")
async def sign_in(request: Request, wanted: SignIn) -> Response:
    """Give a token, get a cookie. Other sites cannot sign a browser in."""
    parts = parts_of(request)
    check_origin(request, parts, required=False)
    address = address_of(request)
    parts.limits.check_failures(address)
    ttl_s = parts.settings.session_ttl_s
    try:
        principal, session = await parts.identities.open_session(wanted.token.strip(), ttl_s)
    except AuthError:
        parts.limits.note_failure(address)
        raise
    request.state.principal = principal
    response = JsonResponse(_described(principal))
    name = cookie_name(request)
    response.set_cookie(
        name, session.reveal(), max_age=ttl_s, path="/", httponly=True, samesite="strict",
        secure=name.startswith("__Host-"),
    )  # fmt: skip
    return response


@router.get("")
async def who_am_i(principal: Annotated[Principal, Depends(account(Permission.READ))]) -> Response:
    return JsonResponse(_described(principal))


@router.delete("", status_code=204)
async def sign_out(request: Request) -> Response:
    """Without a session nothing happens."""
    parts = parts_of(request)
    response = Response(status_code=204)
    if request.cookies.get(cookie_name(request)):
        try:
            principal = await identify(request)
            await parts.identities.end_session(principal.session)
        except AuthError:
            # It has ended already: only the cookie is left to take away.
            check_origin(request, parts, required=True)
    response.delete_cookie(cookie_name(request), path="/", httponly=True, samesite="strict")
    return response


def _described(principal: Principal) -> dict[str, object]:
    return {
        "user": principal.name,
        "role": principal.role,
        "permissions": sorted(str(permission) for permission in principal.permissions),
        "expires_at": principal.expires_at,
    }
