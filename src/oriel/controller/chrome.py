"""Chrome's DevTools over a raw stream: its browser endpoint as whole messages, both ways.

The protocol engine is websockets' own (it does no I/O); the bytes travel on the keeper's stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from oriel.fleet import Keeper
from oriel.model import wire
from oriel.model.errors import WireError

__all__ = ["Chrome", "browser_path"]

# Chrome answers only if it is asked by an address or as localhost.
HOST = "127.0.0.1:9222"
MAX_MESSAGE = 64 << 20  # a full-page screenshot in base64
MAX_ANSWER = 64 << 10


async def browser_path(keeper: Keeper, *, deadline_s: float = 10) -> str:
    """The path of the browser's own endpoint, which carries a secret of this Chrome."""
    request = f"GET /json/version HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    async with asyncio.timeout(deadline_s), keeper.stream("cdp") as stream:
        stream.writer.write(request)
        head = await _head(stream.reader)
        length = _content_length(head)
        body = await stream.reader.readexactly(length)
    try:
        path = str(urlsplit(json.loads(body)["webSocketDebuggerUrl"]).path)
    except (ValueError, KeyError, TypeError) as error:
        raise WireError("Chrome did not tell its endpoint") from error
    if not path.startswith("/devtools/browser/"):
        raise WireError("Chrome told an endpoint that is none")
    return path


class Chrome:
    """A WebSocket to Chrome over `stream`. `open` first."""

    def __init__(self, stream: wire.Stream, path: str) -> None:
        self._stream = stream
        self._protocol = ClientProtocol(parse_uri(f"ws://{HOST}{path}"), max_size=MAX_MESSAGE)
        self._parts: list[bytes] = []

    async def open(self, *, deadline_s: float = 10) -> None:
        """WireError if Chrome refuses."""
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        async with asyncio.timeout(deadline_s):
            while self._protocol.state is State.CONNECTING:
                await self._read()
                for event in self._protocol.events_received():
                    if isinstance(event, Response) and event.status_code != 101:
                        raise WireError(f"Chrome refused the connection with {event.status_code}")
                if self._protocol.handshake_exc is not None:
                    raise WireError("Chrome refused the connection") from self._protocol.handshake_exc

    async def send(self, message: str) -> None:
        self._protocol.send_text(message.encode())
        await self._flush()

    async def messages(self) -> AsyncIterator[str]:
        """Each whole message; ends when Chrome closes."""
        while self._protocol.state is State.OPEN:
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and (message := self._assemble(event)) is not None:
                    yield message
            if self._protocol.close_expected() or not await self._read():
                return

    def _assemble(self, frame: Frame) -> str | None:
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT, Opcode.BINARY):
            return None
        self._parts.append(bytes(frame.data))
        if sum(map(len, self._parts)) > MAX_MESSAGE:
            raise WireError("a message of Chrome is too long")
        if not frame.fin:
            return None
        whole, self._parts = b"".join(self._parts), []
        return whole.decode(errors="replace")

    async def _read(self) -> bool:
        data = await self._stream.reader.read(1 << 16)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        await self._flush()
        return bool(data)

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._stream.writer.write(data)
        await self._stream.writer.drain()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise WireError("Chrome did not answer") from error
    if not head.split(b"\r\n", 1)[0].startswith(b"HTTP/1.1 200"):
        raise WireError("Chrome did not answer with its version")
    return head


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
            if length <= MAX_ANSWER:
                return length
    raise WireError("Chrome's answer has no length")
