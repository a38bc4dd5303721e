"""The ends of a viewer's session: the viewer, the relay of its live view, the guest. Each says texts of JSON.

Where there is a porter it holds them, and they outlive the controller; else they are this process's own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.websockets import WebSocket

from oriel.model import wire
from oriel.model.errors import InvalidError, WireError
from oriel.porter import Carried
from oriel.porter.session import VIEWER

__all__ = ["CarriedEnds", "Ends", "Line", "OwnEnds", "hear", "tell"]


class Line(Protocol):
    """One end."""

    async def read(self) -> str | None:
        """What it said next; None once it has gone."""

    async def write(self, text: str) -> None: ...

    def close(self) -> None:
        """Idempotent."""


class Ends(Protocol):
    """All of one session. `name`s tell the ends of the live view apart."""

    viewer: Line

    async def attach(self, sock: socket.socket) -> tuple[str, Line]:
        """One more end, with its name; `sock` belongs to it from now on."""

    def note(self, more: Mapping[str, Any]) -> None:
        """What a later controller must know to go on."""


async def hear(line: Line) -> dict[str, Any] | None:
    """Its next message; None once it has gone. WireError if that is no JSON object."""
    text = await line.read()
    return None if text is None else wire.parse_line(text.encode(errors="replace"))


async def tell(line: Line, message: Mapping[str, Any]) -> None:
    await line.write(json.dumps(message, separators=(",", ":")))


class CarriedEnds:
    """The porter holds them."""

    def __init__(self, carried: Carried) -> None:
        self._carried = carried
        self.viewer: Line = carried.line(VIEWER)

    async def attach(self, sock: socket.socket) -> tuple[str, Line]:
        name = secrets.token_hex(4)
        return name, self._carried.attach(name, sock)

    def again(self, name: str) -> Line:
        """One that an earlier controller has attached."""
        return self._carried.line(name)

    def forsake(self) -> bool:
        """Let go of all that an earlier controller has attached; whether there was anything."""
        names = [name for name in self._carried.lines if name != VIEWER]
        for name in names:
            self._carried.line(name).close()
        return bool(names)

    def note(self, more: Mapping[str, Any]) -> None:
        self._carried.note({**self._carried.about, **more})


class OwnEnds:
    """They are this process's, and end with it."""

    def __init__(self, websocket: WebSocket) -> None:
        self.viewer: Line = _Viewer(websocket)

    async def attach(self, sock: socket.socket) -> tuple[str, Line]:
        return "", _Lines(*await asyncio.open_unix_connection(sock=sock, limit=wire.MAX_LINE))

    def note(self, more: Mapping[str, Any]) -> None:
        """There will be nobody to tell it to."""


class _Viewer:
    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def read(self) -> str | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("text") is None:
            raise InvalidError("the session's messages are text")
        return str(message["text"])

    async def write(self, text: str) -> None:
        await self._websocket.send_text(text)

    def close(self) -> None:
        """The door's, which knows why."""


class _Lines:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> str | None:
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise WireError(f"a line is longer than {wire.MAX_LINE} bytes") from error
        return line.decode(errors="replace") or None

    async def write(self, text: str) -> None:
        self._writer.write(text.encode(errors="replace") + b"\n")
        await self._writer.drain()

    def close(self) -> None:
        self._writer.transport.abort()
