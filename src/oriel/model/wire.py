"""The protocol of every socket of ours: hostd, keeper, gateway control, and the guest's agent.

One connection, one verb. The caller sends one line of JSON, `{"verb": …, "args": {…}}`; the server
answers one line, `{"ok": true, "result": {…}}` or `{"ok": false, "error": {code, message, hint, kind}}`.
For a plain verb the connection then ends. For a stream verb it carries, after a good answer, what
the verb's documentation says: raw bytes, lines of JSON, or frames (one byte channel, four bytes
length big-endian, payload).

A request may say what it is `for`: the id of the API's request that it serves, by which the logs of all
processes are joined. Whoever serves it asks others for the same.

Either side may vanish at any time; nothing here waits without the caller's deadline. This module is
copied into the guest: standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.model.errors import NotFoundError, OrielError, UnavailableError, WireError

__all__ = [
    "MAX_FRAME",
    "MAX_LINE",
    "REQUEST",
    "Call",
    "Connect",
    "Handler",
    "Peer",
    "Stream",
    "call",
    "close",
    "handle_connection",
    "open_stream",
    "parse_line",
    "peer_of",
    "read_chunks",
    "read_frame",
    "read_line",
    "relay",
    "request_of",
    "result_of",
    "unix",
    "write_frame",
    "write_line",
]

# What is done now is for this request of the API; "" if for none.
REQUEST: ContextVar[str] = ContextVar("REQUEST", default="")

MAX_LINE = 1 << 20  # bytes of one JSON line
MAX_FRAME = 1 << 20  # bytes of one frame's payload
RELAY_CHUNK = 1 << 16
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a unix socket (SO_PEERCRED); all -1 for TCP."""

    pid: int = -1
    uid: int = -1
    gid: int = -1


@dataclass
class Call:
    """One request as its handler sees it. `answer` is only for stream verbs, once, before streaming."""

    verb: str
    args: Mapping[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer
    answered: bool = False

    async def answer(self, result: Mapping[str, Any]) -> None:
        self.answered = True
        await write_line(self.writer, {"ok": True, "result": dict(result)})


# Returns the result, or None when it has answered (and streamed) by itself. OrielError is answered.
Handler = Callable[[Call], Awaitable[Mapping[str, Any] | None]]


@dataclass
class Stream:
    """A stream verb's connection after its answer. Close it with `await close(stream.writer)`."""

    result: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def handle_connection(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handlers: Mapping[str, Handler],
    *,
    on_unknown_error: Callable[[BaseException], OrielError],
    request_deadline_s: float = 10,
) -> None:
    """Serve one connection: read the request, run its handler, answer, close.

    `on_unknown_error` logs an exception that is no OrielError and returns what to answer instead.
    The caller makes the server (`asyncio.start_unix_server(…, limit=MAX_LINE)`) and checks the peer.
    """
    call_ = None
    try:
        async with asyncio.timeout(request_deadline_s):
            request = await read_line(reader)
        if request is None:
            return
        verb, args = request.get("verb"), request.get("args", {})
        if not isinstance(verb, str) or not isinstance(args, dict):
            raise WireError("a request is {verb: string, args: object}")
        REQUEST.set(_id(request.get("for")))
        call_ = Call(verb, args, reader, writer, peer_of(writer))
        handler = handlers.get(verb)
        if handler is None:
            raise NotFoundError(f"no verb {verb!r} here", hint=f"verbs: {', '.join(sorted(handlers))}")
        result = await handler(call_)
        if not call_.answered:
            await call_.answer(result or {})
    except (ConnectionError, TimeoutError) as error:
        # The caller went away or fell silent: nobody is left to answer, unless it was our own time-out.
        if isinstance(error, TimeoutError) and not (call_ and call_.answered):
            await _answer_error(writer, UnavailableError("the request was not answered in time"))
    except OrielError as error:
        if not (call_ and call_.answered):
            await _answer_error(writer, error)
    except Exception as error:  # the boundary: logged there, neutral here
        answer = on_unknown_error(error)
        if not (call_ and call_.answered):
            await _answer_error(writer, answer)
    finally:
        await close(writer)


def _id(given: object) -> str:
    """It goes into logs: nothing else than an id does."""
    return given if isinstance(given, str) and _ID.fullmatch(given) else ""


async def _answer_error(writer: asyncio.StreamWriter, error: OrielError) -> None:
    with contextlib.suppress(ConnectionError):
        await write_line(writer, {"ok": False, "error": error.to_wire()})


async def open_stream(
    connect: Connect, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = 30
) -> Stream:
    """Send `verb` and return the open connection after a good answer.

    Raises the peer's error, UnavailableError if it cannot be reached or does not answer within
    `deadline_s`, WireError if it answers nonsense. On any error the connection is closed.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await connect()
            await write_line(writer, request_of(verb, args))
            answer = await read_line(reader)
        stream = Stream(result_of(verb, answer), reader, writer)
        writer = None
        return stream
    except TimeoutError as error:
        raise UnavailableError(f"no answer to {verb!r} within {deadline_s:g} s") from error
    except OSError as error:
        raise UnavailableError(f"{verb!r} could not be asked: {error.strerror or error}") from error
    finally:
        if writer is not None:
            await close(writer)


def request_of(verb: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is said to ask for `verb`."""
    serves = {"for": request} if (request := REQUEST.get()) else {}
    return {"verb": verb, "args": dict(args or {}), **serves}


def result_of(verb: str, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an answer's line gives. Raises the peer's error, or as `open_stream` for none and for nonsense."""
    if answer is None:
        raise UnavailableError(f"the peer closed the connection before answering {verb!r}")
    if answer.get("ok") is True and isinstance(answer.get("result"), dict):
        return dict(answer["result"])
    if isinstance(answer.get("error"), dict):
        raise OrielError.from_wire(answer["error"])
    raise WireError(f"the answer to {verb!r} has neither a result nor an error")


async def call(
    connect: Connect, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = 30
) -> dict[str, Any]:
    """Ask a plain verb; its result. Errors as `open_stream`."""
    stream = await open_stream(connect, verb, args, deadline_s=deadline_s)
    await close(stream.writer)
    return stream.result


def unix(path: Path) -> Connect:
    """Connect to a unix socket."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(path), limit=MAX_LINE)

    return connect


def peer_of(writer: asyncio.StreamWriter) -> Peer:
    """The peer's credentials, if `writer` is a unix socket's."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return Peer()
    size = struct.calcsize("3i")
    return Peer(*struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)))


async def read_line(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next JSON object, None at the end. WireError if it is longer than MAX_LINE or no object."""
    try:
        line = await reader.readline()
    except ValueError as error:
        raise WireError(f"a line is longer than {MAX_LINE} bytes") from error
    return parse_line(line) if line else None


def parse_line(line: bytes) -> dict[str, Any]:
    """WireError unless it is a JSON object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError("a line is not JSON") from error
    if not isinstance(value, dict):
        raise WireError("a line is not a JSON object")
    return value


async def write_line(writer: asyncio.StreamWriter, value: Mapping[str, Any]) -> None:
    writer.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
    await writer.drain()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    """The next (channel, payload), None at the end, WireError if torn or over MAX_FRAME."""
    try:
        head = await reader.readexactly(5)
        channel, length = struct.unpack(">BI", head)
        if length > MAX_FRAME:
            raise WireError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
        return channel, await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise WireError("the stream ended inside a frame") from error
        return None


async def write_frame(writer: asyncio.StreamWriter, channel: int, payload: bytes) -> None:
    """Send `payload`, cut into frames of at most MAX_FRAME; an empty payload is one empty frame."""
    for start in range(0, len(payload) or 1, MAX_FRAME):
        part = payload[start : start + MAX_FRAME]
        writer.write(struct.pack(">BI", channel, len(part)) + part)
        await writer.drain()


async def read_chunks(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    """Exactly `length` bytes in pieces. WireError if the peer ends before."""
    left = length
    while left:
        data = await reader.read(min(left, RELAY_CHUNK))
        if not data:
            raise WireError(f"the stream ended {left} bytes early")
        left -= len(data)
        yield data


async def relay(
    left: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    right: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy bytes both ways until both directions ended; a half-close is passed on. Closes both."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(RELAY_CHUNK):
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except (ConnectionError, OSError):
            # One side broke: the other must not wait for it.
            left[1].transport.abort()
            right[1].transport.abort()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(left[0], right[1]))
            group.create_task(pump(right[0], left[1]))
    finally:
        await close(left[1])
        await close(right[1])


async def close(writer: asyncio.StreamWriter) -> None:
    """Close and wait, whatever state the connection is in."""
    writer.close()
    with contextlib.suppress(ConnectionError, OSError, TimeoutError):
        async with asyncio.timeout(5):
            await writer.wait_closed()
