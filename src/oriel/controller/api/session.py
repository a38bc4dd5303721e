"""The page's session: a cookie in place of a secret that scripts could read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from oriel.controller.access import account, address_of, check_origin, cookie_name, identify
from oriel.controller.documents import quota_document
from oriel.controller.encoding import JsonResponse
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Permission, Principal
from oriel.controller.store import people, quotas
from oriel.controller.store import sessions as store
from oriel.controller.wishes import PasswordChange, SignIn
from oriel.model.errors import AuthError, Fault, ForbiddenError, InvalidError
from oriel.model.secret import Secret

__all__ = ["leave_former", "router", "set_cookie"]

router = APIRouter(prefix="/v1/session", tags=["session"])

Known = Annotated[Principal, Depends(account(Permission.READ))]


@router.post("")
async def sign_in(request: Request, wanted: SignIn) -> Response:
    """Give a token, or a name and its password; get a cookie. Other sites cannot sign a browser in."""
    parts = parts_of(request)
    check_origin(request, parts, required=False)
    by_password = wanted.by_password
    address, name = address_of(request), (wanted.user or "").strip() if by_password else ""
    parts.limits.check_failures(address, name)
    try:
        if by_password:
            principal, session = await _by_password(request, parts, name, wanted.password or "")
        else:
            principal, session = await _by_token(request, parts, (wanted.token or "").strip())
    except AuthError:
        parts.limits.note_failure(address, name)
        raise
    await leave_former(request, parts)
    request.state.principal = principal
    response = JsonResponse(await _described(parts, principal))
    set_cookie(request, response, session, parts.settings.session_ttl_s)
    return response


async def _by_token(request: Request, parts: Parts, token: str) -> tuple[Principal, Secret]:
    holder = await parts.credentials.of_token(token)
    return await parts.credentials.open_session(
        holder.user_id, "token", parts.settings.session_ttl_s, address=address_of(request),
        token_id=holder.token_id,
    )  # fmt: skip


async def _by_password(request: Request, parts: Parts, name: str, password: str) -> tuple[Principal, Secret]:
    if await parts.database.read(lambda c: people.password_of(c, name)) is not None:
        # For the audit trail; what is no user's name may be a password in the wrong field.
        request.state.about = name
    user = await parts.credentials.by_password(name, password)
    return await parts.credentials.open_session(
        user.id, "password", parts.settings.session_ttl_s, address=address_of(request)
    )


async def leave_former(request: Request, parts: Parts) -> None:
    """The session this browser came with ends: nobody who knew it shares the new one."""
    if former := request.cookies.get(cookie_name(request)):
        try:
            principal = await parts.credentials.of_session(former)
        except AuthError:
            return
        await parts.credentials.end_session(principal.session)


def set_cookie(request: Request, response: Response, session: Secret, ttl_s: int) -> None:
    """Held to this host and out of reach of scripts and other sites."""
    name = cookie_name(request)
    response.set_cookie(
        name, session.reveal(), max_age=ttl_s, path="/", httponly=True, samesite="strict",
        secure=name.startswith("__Host-"),
    )  # fmt: skip


@router.get("")
async def who_am_i(request: Request, principal: Known) -> Response:
    """Who asks, what they may, and how much of their quota is used."""
    return JsonResponse(await _described(parts_of(request), principal))


@router.delete("", status_code=204)
async def sign_out(
    request: Request,
    everywhere: Annotated[bool, Query(description="All of this user's sessions, not only this one.")] = False,
) -> Response:
    """What the session has open is closed. Without a session nothing happens."""
    parts = parts_of(request)
    response = Response(status_code=204)
    if request.cookies.get(cookie_name(request)):
        try:
            principal = await identify(request)
            await _end(parts, principal, everywhere=everywhere)
        except AuthError:
            # It has ended already: only the cookie is left to take away.
            check_origin(request, parts, required=True)
    response.delete_cookie(
        cookie_name(request), path="/", httponly=True, samesite="strict",
        secure=cookie_name(request).startswith("__Host-"),
    )  # fmt: skip
    return response


async def _end(parts: Parts, principal: Principal, *, everywhere: bool) -> None:
    why = AuthError("you have signed out")
    if everywhere:
        await parts.database.write(lambda t: store.end_of_user(t, principal.user_id))
        parts.cut_off(lambda who, _: bool(who.session) and who.user_id == principal.user_id, why)
        return
    await parts.credentials.end_session(principal.session)
    parts.cut_off(lambda who, _: who.session == principal.session, why)


@router.put("/password", status_code=204)
async def change_password(request: Request, principal: Known, wanted: PasswordChange) -> Response:
    """Your own, by the old one. Everyone signed in as you is signed out, but for a page that asks by its
    cookie: it gets a new one. Links you gave end. An administrator sets it for who has none, or forgot it."""
    parts = parts_of(request)
    user = await parts.credentials.user(principal.user_id)
    if not user.has_password:
        raise ForbiddenError("you have no password to change", hint="ask an administrator to set one")
    address = address_of(request)
    parts.limits.check_failures(address, user.name)
    try:
        await parts.credentials.by_password(user.name, wanted.current or "")
    except AuthError:
        parts.limits.note_failure(address, user.name)
        raise InvalidError.of([Fault("current", "is not your password")]) from None
    await parts.credentials.set_password(user, wanted.password)
    parts.cut_off(
        lambda who, _: who.user_id == user.id and bool(who.session or who.link),
        AuthError("the password was changed"),
    )
    response = Response(status_code=204)
    if principal.session:
        ttl_s = parts.settings.session_ttl_s
        _, session = await parts.credentials.open_session(user.id, "password", ttl_s, address=address)
        set_cookie(request, response, session, ttl_s)
    return response


async def _described(parts: Parts, principal: Principal) -> dict[str, Any]:
    def read(connection: Any) -> dict[str, Any]:
        user = people.find_user(connection, principal.user_id)
        if user is None:
            raise AuthError("this user is gone")
        limits = parts.quotas.limits(user.role, user.quota)
        return {
            "has_password": user.has_password,
            "quota": quota_document(limits, quotas.usage_of(connection, user.id)),
        }

    return {
        "user": principal.name,
        "role": principal.role,
        "permissions": sorted(str(permission) for permission in principal.permissions),
        "expires_at": principal.expires_at,
        **await parts.database.read(read),
    }
