"""uvicorn's connections, with one more power: to be taken out of the server as a bare socket.

A route asks for it by the ASGI extension `oriel.connection`. After `take` the server knows the connection no
more: it is as if it had ended, but the socket lives on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from oriel.model.errors import UnavailableError

__all__ = ["HttpConnection", "Takable", "WebSocketConnection", "takable"]

EXTENSION = "oriel.connection"
DRAIN_S = 10.0


class Takable(Protocol):
    """A connection that can leave the server."""

    def hold(self) -> None:
        """What comes from now on is left in its socket. Before the answer that ends our part in it."""

    async def take(self) -> socket.socket:
        """The socket, once all that was said is on its way. UnavailableError if the other side has gone."""


def takable(scope: MutableMapping[str, Any]) -> Takable | None:
    """None if it cannot be: where TLS ends in this process, its state does too."""
    found: Any = (scope.get("extensions") or {}).get(EXTENSION)
    if found is None or found.transport.get_extra_info("ssl_object") is not None:
        return None
    taken: Takable = found
    return taken


def _offer(scope: Any, connection: Takable) -> None:
    scope["extensions"] = (scope.get("extensions") or {}) | {EXTENSION: connection}


async def _leave(transport: asyncio.Transport, drained: Awaitable[object]) -> socket.socket:
    """Wait until `drained` says that nothing waits to be sent; a copy of the socket, the transport ended."""
    transport.set_write_buffer_limits(high=0)
    try:
        async with asyncio.timeout(DRAIN_S):
            await drained
    except TimeoutError:
        raise UnavailableError("the viewer does not read") from None
    if transport.is_closing():
        raise UnavailableError("the viewer has gone")
    sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    # Closes its descriptor; the connection lives in ours.
    transport.abort()
    return sock


class WebSocketConnection(WebSocketsSansIOProtocol):
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            _offer(self.scope, self)

    def hold(self) -> None:
        self.transport.pause_reading()

    async def take(self) -> socket.socket:
        self.stop_keepalive()
        return await _leave(self.transport, self.writable.wait())


class HttpConnection(HttpToolsProtocol):
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        _offer(self.scope, self)

    def hold(self) -> None:
        self.flow.pause_reading()

    async def take(self) -> socket.socket:
        cycle = self.cycle
        sock = await _leave(self.transport, self.flow.drain())
        cycle.response_complete = cycle.disconnected = True
        return sock
