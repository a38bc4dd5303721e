"""HTTP and WebSockets to one controller; every foreign error leaves as one of ours."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from os import SEEK_END
from typing import Any, BinaryIO

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect

from oriel.client.access import Access
from oriel.client.problem import error_of_close, error_of_response
from oriel.client.sse import ServerEvent, ServerEvents
from oriel.model.errors import OrielError, UnavailableError, WireError

__all__ = ["Socket", "Transport"]

CONNECT_DEADLINE_S = 10.0
# A live event stream says something (a comment at least) well within this.
STREAM_SILENCE_S = 60.0
MAX_MESSAGE = 16 << 20
CHUNK = 1 << 16


class Transport:
    """One pool of connections. `aclose` ends them; nothing works after it."""

    def __init__(self, access: Access, *, deadline_s: float = 60) -> None:
        self.access = access
        self._http = httpx.AsyncClient(
            base_url=access.url,
            headers=self._authorization,
            timeout=httpx.Timeout(deadline_s, connect=CONNECT_DEADLINE_S),
            trust_env=not access.loopback,
        )

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access.token.reveal()}"}

    async def aclose(self) -> None:
        await self._http.aclose()

    async def json(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        """One request; its JSON answer, None if it has no body.

        Raises the controller's error, UnavailableError if it does not answer in time.
        """
        data = await self.data(method, path, body=body, params=params, headers=headers, deadline_s=deadline_s)
        if not data:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise WireError(
                f"the answer to {method} {path} is not JSON", hint="is ORIEL_URL an Oriel controller?"
            ) from error

    async def data(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        """One request; the bytes of its answer. Errors as `json`."""
        timeout = httpx.USE_CLIENT_DEFAULT if deadline_s is None else _timeout(deadline_s)
        try:
            answer = await self._http.request(
                method, path, json=body, params=_present(params), headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise error_of_response(answer.status_code, answer.content, answer.headers)
        return answer.content

    async def upload(
        self, path: str, source: BinaryIO, *, params: Mapping[str, Any], offset: int = 0, ranged: bool = False
    ) -> None:
        """PUT what is left of `source`, a file one can seek in, in pieces; of that what follows `offset`,
        and with `ranged` saying so."""
        start = source.tell()
        total = source.seek(0, SEEK_END) - start
        source.seek(start + offset)
        length = total - offset
        headers = {"Content-Length": str(length)}  # the guest is told the size before the bytes
        if ranged and total:  # an empty file has no range
            headers["Content-Range"] = f"bytes {offset}-{total - 1}/{total}"
        elif ranged:
            params = {**params, "upload": None}
        content = _pieces(source)
        async with self._stream("PUT", path, content=content, headers=headers, params=_present(params)):
            return

    async def download(self, path: str, sink: BinaryIO, *, params: Mapping[str, Any]) -> None:
        """GET into `sink`, in pieces. After an error `sink` holds part of it."""
        async with self._stream("GET", path, params=_present(params)) as answer:
            async for piece in answer.aiter_bytes(CHUNK):
                sink.write(piece)

    async def events(
        self, path: str, *, after: int | None, timeout_s: float, follow: bool = True
    ) -> AsyncGenerator[ServerEvent | None, None]:
        """Server-sent events. The first item is None: the stream is open, nothing will be missed.

        `after`: the last `seq` already seen, 0 for all there are; None for what comes. Further None are
        signs of life. Without `follow` it ends after those kept, else when the controller ends it.
        UnavailableError if it goes on after `timeout_s`, or is silent for a minute.
        """
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        silence = httpx.Timeout(min(timeout_s, STREAM_SILENCE_S), connect=CONNECT_DEADLINE_S)
        parser = ServerEvents()
        deadline = time.monotonic() + timeout_s
        params = None if follow else {"follow": 0}
        async with self._stream("GET", path, headers=headers, params=params, timeout=silence) as answer:
            yield None
            async for line in answer.aiter_lines():
                if time.monotonic() >= deadline:
                    raise UnavailableError(f"the event stream did not end within {timeout_s:g} s")
                yield parser.feed(line)

    async def lines(
        self, method: str, path: str, *, body: object, silence_s: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """An answer of JSON lines, as they come. UnavailableError after `silence_s` without one."""
        async with self._stream(method, path, json=body, timeout=_timeout(silence_s)) as answer:
            async for line in answer.aiter_lines():
                if line:
                    yield dict(json.loads(line))

    @asynccontextmanager
    async def _stream(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream(method, path, **options) as answer:
                if answer.is_error:
                    body = await answer.aread()
                    raise error_of_response(answer.status_code, body, answer.headers)
                yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def socket(self, path: str, *, ticket: str | None = None) -> Socket:
        """Open a WebSocket, by `ticket` if given, as a viewer does, else by our token.

        Raises the controller's error, UnavailableError if it cannot be reached.
        """
        try:
            connection = await connect(
                self.access.websocket_url + path,
                subprotocols=[websockets.Subprotocol(f"ticket.{ticket}")] if ticket else None,
                additional_headers=None if ticket else self._authorization,
                origin=websockets.Origin(self.access.url) if ticket else None,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=CONNECT_DEADLINE_S,
                proxy=None if self.access.loopback else True,
            )
        except websockets.InvalidStatus as error:
            answer = error.response
            raise error_of_response(answer.status_code, bytes(answer.body or b""), answer.headers) from error
        except (websockets.WebSocketException, OSError) as error:
            raise self._unreachable(error) from error
        return Socket(connection)

    def _unreachable(self, error: Exception) -> OrielError:
        if isinstance(error, (httpx.ReadTimeout, TimeoutError)):
            return UnavailableError(
                f"the controller at {self.access.url} did not answer in time",
                hint="`oriel doctor` and the controller's log tell what it is busy with",
            )
        return UnavailableError(
            f"the controller at {self.access.url} cannot be reached: {error or type(error).__name__}",
            hint="is it running? ./run starts it; ORIEL_URL says where it is",
        )


class Socket:
    """A WebSocket whose end and errors are ours. An async context manager."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def send(self, message: bytes | str) -> None:
        """Raises what the controller closed the connection with."""
        try:
            await self._connection.send(message)
        except websockets.ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> bytes | str | None:
        """The next message, None once the peer has ended the connection in order."""
        try:
            return await self._connection.recv()
        except websockets.ConnectionClosedOK:
            return None
        except websockets.ConnectionClosed as error:
            raise _closed(error) from error

    async def aclose(self) -> None:
        await self._connection.close()


def _closed(error: websockets.ConnectionClosed) -> OrielError:
    if error.rcvd is None:
        return UnavailableError("the connection broke", hint="the controller or the network went away")
    return error_of_close(error.rcvd.code, error.rcvd.reason)


async def _pieces(source: BinaryIO) -> AsyncIterator[bytes]:
    while piece := source.read(CHUNK):
        yield piece


def _timeout(deadline_s: float) -> httpx.Timeout:
    return httpx.Timeout(deadline_s, connect=min(CONNECT_DEADLINE_S, deadline_s))


def _present(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if params is None else {key: value for key, value in params.items() if value is not None}
