"""The one door of every WebSocket: where it comes from, who asks, which desktop, what for, in what state.

A refusal before the upgrade is a problem document; after it the connection is closed with 4000 + status
and the error's code as the reason. Whoever may end it, ends it here: deletion, revocation, shutdown.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from oriel.controller.access import address_of, bearer_of, check_origin, identify, reach_into, require_running
from oriel.controller.live import Connection
from oriel.controller.middleware import audit
from oriel.controller.parts import Parts, parts_of
from oriel.controller.problems import neutral, problem, status_of
from oriel.controller.rights import Mode, Permission, Principal, Reach, seconds_until
from oriel.controller.store.desktops import Desktop
from oriel.controller.tickets import Pass
from oriel.controller.transports import takable
from oriel.model.errors import AuthError, ForbiddenError, NotFoundError, OrielError, UnavailableError
from oriel.porter import Carried

__all__ = ["Opened", "add_door", "messages", "until_ended"]

_LOG = structlog.get_logger(__name__)
TICKET = "ticket."
CLOSE_DEADLINE_S = 1.0

# Reaches the desktop before the upgrade; gives back what `Serve` works with.
Open = Callable[[Parts, Desktop], AbstractAsyncContextManager[Any]]


# Gives the WebSocket and the desktop's socket to the porter; the route then only attends.
Carry = Callable[..., Awaitable[Carried]]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open WebSocket with the right it was opened by, and what its `Open` gave."""

    websocket: WebSocket
    parts: Parts
    desktop: Desktop
    principal: Principal
    mode: Mode
    target: Any
    ends: str | None  # until when the right to it holds
    carry: Carry | None  # None: there is no porter, or TLS ends here


Serve = Callable[[Opened], Awaitable[None]]


def add_door(
    router: APIRouter, kind: str, open_: Open, serve: Serve, *, views: bool = False, carried: bool = False
) -> None:
    """A WebSocket route `/{ref}/KIND`. `views`: a right to look is enough, and `serve` sees to it.
    `carried`: `serve` gives it to the porter if it can be."""

    async def door(websocket: WebSocket, ref: str) -> None:
        await _Visit(websocket, ref, kind, open_, serve, views=views, carried=carried).run()

    door.__doc__ = serve.__doc__
    router.add_api_websocket_route(f"/{{ref}}/{kind}", door, name=f"open_{kind}")


async def messages(websocket: WebSocket) -> AsyncIterator[bytes | str]:
    """What the other side sends, until it closes."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        yield data if data is not None else message.get("text") or ""


def _check_pass(right: Pass | None, found: Desktop) -> None:
    """That a ticket is for this desktop, and for this run of it."""
    if right is None:
        return
    if right.desktop != found.id:
        raise NotFoundError("the ticket is for another desktop")
    if right.generation is not None and right.generation != found.generation:
        raise AuthError("the desktop has started anew since this ticket was made", hint="get a new one")


async def until_ended(serving: Awaitable[None], connection: Connection, left_s: float | None) -> None:
    """Serve until that is done, somebody ends the connection, or the right to it has run out."""
    work = asyncio.ensure_future(serving)
    try:
        waited: list[asyncio.Future[Any]] = [work, connection.ended]
        done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=left_s)
        if connection.ended.done():
            raise connection.ended.result()
        if not done:
            raise AuthError("the right to this has ended")
        await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


class _Visit:
    """One WebSocket from its knock to its end."""

    def __init__(
        self, websocket: WebSocket, ref: str, kind: str, open_: Open, serve: Serve,
        *, views: bool, carried: bool,
    ) -> None:  # fmt: skip
        self._websocket = websocket
        self._ref = ref
        self._kind = kind
        self._open = open_
        self._serve = serve
        self._views = views
        self._parts = parts_of(websocket)
        self._takable = takable(websocket.scope) if carried and self._parts.porter.there else None
        self._carried: Carried | None = None

    async def run(self) -> None:
        began = time.monotonic()
        outcome = "ok"
        try:
            await self._visit()
        except WebSocketDisconnect:
            outcome = "left"
        except OrielError as error:
            outcome = error.code
            await self._refuse(error)
        except TimeoutError:
            outcome = "unavailable"
            await self._refuse(UnavailableError("the desktop did not answer in time"))
        except Exception as error:
            outcome = "internal"
            await self._refuse(neutral(error))
        finally:
            seconds = time.monotonic() - began
            _LOG.info("websocket", kind=self._kind, outcome=outcome, seconds=round(seconds, 3))
            audit(
                self._parts,
                self._websocket.scope,
                action=f"open_{self._kind}",
                outcome=outcome,
                seconds=seconds,
            )

    async def _visit(self) -> None:
        principal, mode, found, ends = await self._admit()
        connection = Connection(found.id, self._kind, principal, str(mode))
        async with AsyncExitStack() as stack:
            stack.enter_context(self._parts.live.register(connection))
            # Whoever took that right away a moment ago could not see this connection yet.
            await self._look_again(principal, found)
            target = await stack.enter_async_context(self._open(self._parts, found))
            if connection.ended.done():
                raise connection.ended.result()
            if self._takable is not None:
                self._takable.hold()
            await self._websocket.accept(subprotocol=self._subprotocol())
            opened = Opened(
                websocket=self._websocket, parts=self._parts, desktop=found, principal=principal,
                mode=mode, target=target, ends=ends, carry=self._carry if self._takable else None,
            )  # fmt: skip
            await until_ended(self._serve(opened), connection, seconds_until(ends))
            await self._close(1000, "")

    async def _carry(
        self, desktop: socket.socket | None, kind: str, about: dict[str, Any], **more: Any
    ) -> Carried:
        assert self._takable is not None  # noqa: S101 - it was offered only then
        client = await self._takable.take()
        self._carried = self._parts.porter.carry(client, desktop, kind, about, **more)
        if self._carried is None:
            client.close()
            raise UnavailableError("the porter has just gone", hint="connect again")
        return self._carried

    async def _admit(self) -> tuple[Principal, Mode, Desktop, str | None]:
        """Every check there is, in one place; and until when what it found holds."""
        websocket, parts = self._websocket, self._parts
        bearer = bearer_of(websocket)
        # A browser cannot be made to send a bearer header to us by another site's page; it always tells
        # where a page's WebSocket comes from. Programs with a token need not.
        check_origin(websocket, parts, required=not bearer)
        ticket = next((one for one in self._offered() if one.startswith(TICKET)), "")
        right: Pass | None = None
        if bearer and not bearer.startswith("grant_"):
            principal = await identify(websocket)
        elif ticket:
            right = await self._spend(ticket.removeprefix(TICKET))
            principal = websocket.state.principal = right.principal
        else:
            raise AuthError(
                "a stream needs a ticket", hint="POST …/tickets, then offer the subprotocol ticket.TICKET"
            )
        found, reach, ends = await reach_into(parts, principal, self._ref)
        websocket.state.desktop = found.id
        structlog.contextvars.bind_contextvars(desktop=found.id)
        drives = principal.may(Permission.CONTROL) and reach is not Reach.VIEW
        mode = right.mode if right else Mode.CONTROL if drives else Mode.VIEW
        _check_pass(right, found)
        if mode is Mode.CONTROL and not drives:
            raise ForbiddenError("the right to control it has ended", hint="ask for a new ticket")
        if mode is Mode.VIEW and not self._views:
            raise ForbiddenError("a right to look does not open this", hint="ask for a ticket to control")
        found = await parts.moments.awake(found)
        require_running(found)
        return principal, mode, found, ends

    async def _spend(self, ticket: str) -> Pass:
        parts, address = self._parts, address_of(self._websocket)
        parts.limits.check_failures(address)
        try:
            return await parts.links.spend(ticket)
        except AuthError:
            parts.limits.note_failure(address)
            raise

    async def _look_again(self, principal: Principal, found: Desktop) -> None:
        """Still who we were, still the desktop we were let into, still ours to enter."""
        await self._parts.credentials.check(principal)
        again, _, _ = await reach_into(self._parts, principal, found.id)
        require_running(again)

    def _offered(self) -> list[str]:
        return list(self._websocket.scope.get("subprotocols") or [])

    def _subprotocol(self) -> str | None:
        """A browser insists that one it offered is chosen; the ticket itself only if it offered no other."""
        offered = self._offered()
        others = [one for one in offered if not one.startswith(TICKET)]
        if "binary" in others:
            return "binary"
        return next(iter(others or offered), None)

    async def _refuse(self, error: OrielError) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTING:
            request_id = self._websocket.scope["state"].get("request_id", "")
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.send_denial_response(problem(error, request_id=request_id))
            return
        await self._close(4000 + status_of(error), error.code)

    async def _close(self, code: int, reason: str) -> None:
        if self._carried is not None:
            self._carried.end(code, reason)
            return
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        if self._websocket.client_state is WebSocketState.DISCONNECTED:
            return
        # A viewer that no longer reads must not hold us.
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._websocket.close(code, reason[:120])
