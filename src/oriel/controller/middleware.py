"""What surrounds every request: its id, its line in the log, limits, headers, the audit trail."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oriel.controller.access import SAFE_METHODS, address_of
from oriel.controller.parts import Parts
from oriel.controller.problems import neutral, problem
from oriel.controller.store.events import write_audit
from oriel.model import wire
from oriel.model.clipboard import HTML, IMAGE, MOST_BYTES, TEXT
from oriel.model.errors import InvalidError, OrielError
from oriel.model.events import utc_now

__all__ = ["Envelope", "SecurityHeaders", "audit"]

_LOG = structlog.get_logger("oriel.request")

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'self'",
        "media-src 'self' blob:",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


# A picture as it is, or text and markup as JSON, which may need six bytes for one.
MOST_COPIED = max(MOST_BYTES[IMAGE], 6 * (MOST_BYTES[TEXT] + MOST_BYTES[HTML]))
PRIVATE_READS = frozenset({
    "read_file", "get_clipboard", "get_clipboard_image", "show_logs", "access_log", "list_audit",
    "export_audit",
})  # fmt: skip
SCREEN_READS = frozenset({"screenshot", "list_windows"})


class SecurityHeaders:
    """On every answer, the refusals of WebSockets too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/v1/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with)


class Envelope:
    """Gives each request an id, bounds its body, turns the unforeseen into a neutral answer, logs it."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        wire.REQUEST.set(request_id)
        with structlog.contextvars.bound_contextvars(request=request_id):
            if scope["type"] == "websocket":
                return await self._app(scope, receive, send)
            return await self._http(scope, receive, send, request_id)

    async def _http(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began = time.monotonic()
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                self._parts.metrics.seconds.labels(route=_route(scope)).observe(time.monotonic() - began)
            await send(message)

        try:
            limited = self._bounded(scope, receive)
            await self._app(scope, limited, send_noting)
        except Exception as error:
            answer = problem(
                error if isinstance(error, OrielError) else neutral(error), request_id=request_id
            )
            if status:
                # The answer has begun and cannot be taken back: let the connection break.
                raise
            await answer(scope, receive, send_noting)
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that refuses more than this route takes."""
        settings = self._parts.settings
        most = settings.body_limit_kib << 10
        if scope["method"] == "PUT" and scope["path"].endswith("/files"):
            most = settings.upload_limit_mib << 20
        elif scope["method"] == "PUT" and scope["path"].endswith(("/clipboard", "/clipboard/image")):
            most = MOST_COPIED
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise _too_large(most)
        taken = 0

        async def receive_counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                # As Starlette's own error: FastAPI lets only that one through while it reads a body.
                raise HTTPException(413, detail=_too_large(most).message)
            return message

        return receive_counting

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._parts.metrics.requests.labels(method=scope["method"], route=route, status=str(status)).inc()
        principal = scope["state"].get("principal")
        quiet = scope["method"] in SAFE_METHODS and status < 400
        (_LOG.debug if quiet else _LOG.info)(
            "request", method=scope["method"], path=scope["path"][:300], status=status,
            seconds=round(seconds, 4), user=principal.name if principal else None,
        )  # fmt: skip
        if scope["path"].startswith("/v1/") and _is_audited(scope):
            audit(self._parts, scope, action=_action(scope), outcome=str(status), seconds=seconds)


def audit(parts: Parts, scope: Scope, *, action: str, outcome: str, seconds: float) -> None:
    """Note who did what to what. Written behind the answer; a failure to write is in the log."""
    principal = scope["state"].get("principal")
    told, params = scope["state"], scope.get("path_params") or {}
    entry = {
        "at": utc_now(),
        "actor": principal.name if principal else "",
        "action": action[:64],
        "target": str(told.get("desktop") or told.get("about") or next(iter(params.values()), ""))[:128],
        "outcome": outcome[:32],
        "address": address_of(HTTPConnection(scope))[:64],
        "request_id": scope["state"].get("request_id", ""),
        "seconds": round(seconds, 4),
    }
    _behind(parts, lambda: _write(parts, entry))


async def _write(parts: Parts, entry: dict[str, Any]) -> None:
    try:
        await parts.database.write(lambda t: write_audit(t, entry))
    except OrielError as error:
        _LOG.error("the audit trail could not be written", reason=error.message, **entry)


def _behind(parts: Parts, work: Callable[[], Any]) -> None:
    task = asyncio.get_running_loop().create_task(work())
    parts.background.add(task)
    task.add_done_callback(parts.background.discard)


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: that is the user's, and without end."""
    return str(getattr(scope.get("route"), "path", "other"))


def _is_audited(scope: Scope) -> bool:
    """What changes something; and reading what is private to a desktop's user, or the trail itself."""
    if scope["method"] not in SAFE_METHODS or _action(scope) in PRIVATE_READS:
        return True
    # One's own screen is looked at all the time; somebody else's is worth a line.
    principal, owner = scope["state"].get("principal"), scope["state"].get("owner")
    foreign = principal is not None and owner is not None and (principal.link or principal.user_id != owner)
    return bool(foreign) and _action(scope) in SCREEN_READS


def _action(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "name", "") or f"{scope['method']} unknown")


def _too_large(most: int) -> InvalidError:
    return InvalidError(f"the body is longer than {most} bytes", hint="send less", code="too_large")
