"""Users and their tokens."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from oriel.controller.access import account
from oriel.controller.documents import quota_document, token_document, user_document
from oriel.controller.encoding import JsonResponse, before_of, list_of
from oriel.controller.parts import Parts, parts_of
from oriel.controller.rights import Permission, Principal, allowed
from oriel.controller.store import people as store
from oriel.controller.store.people import User
from oriel.controller.store.quotas import usage_of
from oriel.controller.wishes import NewPassword, TokenWish, UserChange, UserWish
from oriel.model.errors import AuthError, Fault, ForbiddenError, InvalidError, NotFoundError
from oriel.model.events import utc_now

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["people"])

ADMIN = [Depends(account(Permission.ADMIN))]
Known = Annotated[Principal, Depends(account(Permission.READ))]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/users", dependencies=ADMIN)
async def list_users(request: Request, limit: Limit = 100, cursor: str | None = None) -> Response:
    before = before_of(cursor)
    rows = await parts_of(request).database.read(lambda c: store.user_page(c, before=before, limit=limit + 1))
    return list_of(rows, limit, user_document, lambda row: row.number)


@router.post("/users", status_code=201, dependencies=ADMIN)
async def add_user(request: Request, wanted: UserWish) -> Response:
    """`role`: admin, user (their own desktops) or viewer (may look at their own)."""
    parts = parts_of(request)
    quota = wanted.quota.given() if wanted.quota else {}
    user = User(
        id=f"u-{secrets.token_hex(5)}", name=wanted.name, role=wanted.role, created_at=utc_now(),
        subject=_subject(parts, wanted.subject) or "", quota=quota,
    )  # fmt: skip
    hashed = None
    if wanted.password is not None:
        hashed = await parts.passwords.hash(wanted.password, of=wanted.name)
    made = await parts.database.write(lambda t: store.add_user(t, user, hashed))
    return JsonResponse(user_document(made), status_code=201)


@router.get("/users/{ref}", dependencies=ADMIN)
async def show_user(request: Request, ref: str) -> Response:
    """With what they may have, and have."""
    parts = parts_of(request)
    user = await parts.credentials.user(ref)
    usage = await parts.database.read(lambda c: usage_of(c, user.id))
    limits = parts.quotas.limits(user.role, user.quota)
    return JsonResponse(user_document(user) | quota_document(limits, usage))


@router.patch("/users/{ref}", dependencies=ADMIN)
async def change_user(request: Request, ref: str, wanted: UserChange) -> Response:
    """A new role is in force at once: what they have open is closed. A quota binds what they make next."""
    parts = parts_of(request)
    user = await parts.credentials.user(ref)
    subject = _subject(parts, wanted.subject)
    quota = wanted.quota.given() if wanted.quota else None
    changed = await parts.database.write(
        lambda t: store.change_user(t, user, role=wanted.role, subject=subject, quota=quota)
    )
    if changed.role != user.role:
        _cut_off(parts, user)
    return JsonResponse(user_document(changed))


@router.delete("/users/{ref}", status_code=204, dependencies=ADMIN)
async def delete_user(request: Request, ref: str) -> Response:
    """With their tokens, sessions and links, at once. Refused while they own anything."""
    parts = parts_of(request)
    user = await parts.credentials.user(ref)
    await parts.database.write(lambda t: store.remove_user(t, user))
    _cut_off(parts, user)
    return Response(status_code=204)


@router.put("/users/{ref}/password", status_code=204, dependencies=ADMIN)
async def set_password(request: Request, ref: str, wanted: NewPassword) -> Response:
    """In place of the one they have. Everyone signed in as them is signed out; links they gave end."""
    parts = parts_of(request)
    user = await parts.credentials.user(ref)
    await parts.credentials.set_password(user, wanted.password)
    _sign_out(parts, user)
    return Response(status_code=204)


@router.delete("/users/{ref}/password", status_code=204, dependencies=ADMIN)
async def remove_password(request: Request, ref: str) -> Response:
    """They sign in by other ways only, from now on."""
    parts = parts_of(request)
    user = await parts.credentials.user(ref)
    await parts.credentials.set_password(user, None)
    _sign_out(parts, user)
    return Response(status_code=204)


@router.get("/tokens")
async def list_tokens(
    request: Request, principal: Known, limit: Limit = 100, cursor: str | None = None
) -> Response:
    """Yours; for an administrator everyone's. Never the tokens themselves."""
    user_id = None if principal.may(Permission.ADMIN) else principal.user_id
    before = before_of(cursor)
    rows = await parts_of(request).database.read(
        lambda c: store.token_page(c, user_id=user_id, before=before, limit=limit + 1)
    )
    return list_of(rows, limit, token_document, lambda row: row.number)


@router.post("/tokens", status_code=201)
async def create_token(request: Request, principal: Known, wanted: TokenWish) -> Response:
    """The answer is the only time the token is shown. Without `scopes` it may all that the user may."""
    parts = parts_of(request)
    user = await _user_of_token(parts, principal, wanted.user)
    mine = user.id == principal.user_id
    scopes = wanted.permissions()
    if scopes is None:
        scopes = sorted(principal.permissions) if mine else sorted(Permission)
        scopes = [scope for scope in scopes if scope in allowed(user.role)]
    if not principal.may(Permission.ADMIN) and not set(scopes) <= principal.permissions:
        raise ForbiddenError(
            "a token cannot make one that may more", hint="leave scopes out, or ask for less"
        )
    token, secret = await parts.credentials.make_token(user, wanted.name, scopes, wanted.expires_in_s)
    return JsonResponse({**token_document(token), "token": secret.reveal()}, status_code=201)


@router.get("/tokens/{token_id}")
async def show_token(request: Request, principal: Known, token_id: str) -> Response:
    return JsonResponse(token_document(await _find_token(parts_of(request), principal, token_id)))


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(request: Request, principal: Known, token_id: str) -> Response:
    """At once: its sessions end, what it has open is closed, links it gave are void."""
    parts = parts_of(request)
    token = await _find_token(parts, principal, token_id)
    await parts.credentials.revoke(token.id)
    parts.cut_off(lambda who, _: who.token_id == token.id, AuthError("the token was revoked"))
    return Response(status_code=204)


async def _user_of_token(parts: Parts, principal: Principal, name: str | None) -> User:
    if name is None:
        name = principal.name
    if name != principal.name and not principal.may(Permission.ADMIN):
        raise ForbiddenError("you can make tokens only for yourself", hint="leave user out")
    try:
        return await parts.credentials.user(name)
    except NotFoundError as error:
        raise InvalidError.of([Fault("user", error.message)]) from error


async def _find_token(parts: Parts, principal: Principal, token_id: str) -> store.Token:
    found = await parts.database.read(lambda c: store.find_token(c, token_id))
    if found is None or not (principal.may(Permission.ADMIN) or found.user_id == principal.user_id):
        raise NotFoundError("there is no such token", hint="`oriel token list` shows yours")
    return found


def _subject(parts: Parts, given: str | None) -> str | None:
    """As it is stored: with the provider whose word it is."""
    if not given:
        return given
    if not parts.settings.oidc_issuer:
        raise InvalidError.of([Fault("subject", "no provider is configured (oidc_issuer)")])
    return f"{parts.settings.oidc_issuer} {given}"


def _cut_off(parts: Parts, user: User) -> None:
    parts.cut_off(lambda who, _: who.user_id == user.id, AuthError("the user's rights have changed"))


def _sign_out(parts: Parts, user: User) -> None:
    parts.cut_off(
        lambda who, _: who.user_id == user.id and bool(who.session or who.link),
        AuthError("the password was changed"),
    )
