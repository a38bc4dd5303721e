"""The one door of every WebSocket: where it comes from, who asks, which desktop, what for, in what state.

A refusal before the upgrade is a problem document; after it the connection is closed with 4000 + status
and the error's code as the reason. Whoever may end it, ends it here: deletion, revocation, shutdown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import structlog
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from oriel.controller.access import address_of, bearer_of, check_origin, identify, require_running
from oriel.controller.identity import Permission, Principal
from oriel.controller.live import Connection
from oriel.controller.middleware import audit
from oriel.controller.parts import Parts, parts_of
from oriel.controller.problems import neutral, problem, status_of
from oriel.controller.store import desktops
from oriel.controller.store.desktops import Desktop
from oriel.controller.tickets import Mode
from oriel.model.errors import AuthError, ForbiddenError, NotFoundError, OrielError, UnavailableError

__all__ = ["Opened", "add_door", "messages"]

_LOG = structlog.get_logger(__name__)
TICKET = "ticket."
CLOSE_DEADLINE_S = 1.0

# Reaches the desktop before the upgrade; gives back what `Serve` works with.
Open = Callable[[Parts, Desktop], AbstractAsyncContextManager[Any]]


class Opened:
    """An open WebSocket with the right it was opened by, and what its `Open` gave."""

    def __init__(self, websocket: WebSocket, parts: Parts, mode: Mode, target: Any) -> None:
        self.websocket = websocket
        self.parts = parts
        self.mode = mode
        self.target = target


Serve = Callable[[Opened], Awaitable[None]]


def add_door(router: APIRouter, kind: str, open_: Open, serve: Serve, *, views: bool = False) -> None:
    """A WebSocket route `/{ref}/KIND`. `views`: a right to look is enough, and `serve` sees to it."""

    async def door(websocket: WebSocket, ref: str) -> None:
        await _Visit(websocket, ref, kind, open_, serve, views=views).run()

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


class _Visit:
    """One WebSocket from its knock to its end."""

    def __init__(
        self, websocket: WebSocket, ref: str, kind: str, open_: Open, serve: Serve, *, views: bool
    ) -> None:
        self._websocket = websocket
        self._ref = ref
        self._kind = kind
        self._open = open_
        self._serve = serve
        self._views = views
        self._parts = parts_of(websocket)

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
        principal, mode, found = await self._admit()
        connection = Connection(found.id, self._kind, principal, str(mode))
        async with AsyncExitStack() as stack:
            stack.enter_context(self._parts.live.register(connection))
            target = await stack.enter_async_context(self._open(self._parts, found))
            if connection.ended.done():
                raise connection.ended.result()
            await self._websocket.accept(subprotocol=self._subprotocol())
            opened = Opened(self._websocket, self._parts, mode, target)
            await self._until_ended(opened, connection)

    async def _admit(self) -> tuple[Principal, Mode, Desktop]:
        """Every check there is, in one place."""
        websocket, parts = self._websocket, self._parts
        bearer = bearer_of(websocket)
        # A browser cannot be made to send a bearer header to us by another site's page; it always tells
        # where a page's WebSocket comes from. Programs with a token need not.
        check_origin(websocket, parts, required=not bearer)
        ticket = next((one for one in self._offered() if one.startswith(TICKET)), "")
        if bearer and not bearer.startswith("grant_"):
            principal = await identify(websocket)
            mode = Mode.CONTROL if principal.may(Permission.CONTROL) else Mode.VIEW
            desktop_id = ""
        elif ticket:
            parts.limits.check_failures(address_of(websocket))
            try:
                right = parts.tickets.spend(ticket.removeprefix(TICKET))
            except AuthError:
                parts.limits.note_failure(address_of(websocket))
                raise
            principal, mode, desktop_id = right.principal, right.mode, right.desktop
            websocket.state.principal = principal
        else:
            raise AuthError(
                "a stream needs a ticket", hint="POST …/tickets, then offer the subprotocol ticket.TICKET"
            )
        found = await parts.database.read(lambda c: desktops.find(c, self._ref))
        if desktop_id and (found is None or found.id != desktop_id):
            raise NotFoundError("the ticket is for another desktop")
        found = parts.check_visible(principal, found)
        websocket.state.desktop = found.id
        if mode is Mode.VIEW and not self._views:
            raise ForbiddenError("a right to look does not open this", hint="ask for a ticket to control")
        require_running(found)
        return principal, mode, found

    def _offered(self) -> list[str]:
        return list(self._websocket.scope.get("subprotocols") or [])

    def _subprotocol(self) -> str | None:
        """A browser insists that one it offered is chosen; the ticket itself only if it offered no other."""
        offered = self._offered()
        others = [one for one in offered if not one.startswith(TICKET)]
        if "binary" in others:
            return "binary"
        return next(iter(others or offered), None)

    async def _until_ended(self, opened: Opened, connection: Connection) -> None:
        """Serve until that is done, or somebody ends the connection."""

        async def serve() -> None:
            await self._serve(opened)

        work = asyncio.create_task(serve(), name=f"serve {self._kind}")
        try:
            waited: list[asyncio.Future[Any]] = [work, connection.ended]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if connection.ended.done():
                raise connection.ended.result()
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await self._close(1000, "")

    async def _refuse(self, error: OrielError) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTING:
            request_id = self._websocket.scope["state"].get("request_id", "")
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.send_denial_response(problem(error, request_id=request_id))
            return
        await self._close(4000 + status_of(error), error.code)

    async def _close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        if self._websocket.client_state is WebSocketState.DISCONNECTED:
            return
        # A viewer that no longer reads must not hold us.
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._websocket.close(code, reason[:120])
