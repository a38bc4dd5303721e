"""A stream verb's connection as a bare socket, to be given away: nothing of it is read ahead."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oriel.model import wire
from oriel.model.errors import UnavailableError, WireError

__all__ = ["Plain", "ask_plain", "connect_plain"]

Plain = socket.socket


async def connect_plain(path: Path) -> socket.socket:
    """UnavailableError if nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise UnavailableError(f"the keeper does not answer: {error.strerror or error}") from error
        raise
    return sock


async def ask_plain(
    sock: socket.socket, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = 10
) -> dict[str, Any]:
    """Ask `verb` on it; its result. What follows the answer stays there. Errors as wire.open_stream."""
    loop = asyncio.get_running_loop()
    request = json.dumps(wire.request_of(verb, args), separators=(",", ":")).encode() + b"\n"
    try:
        async with asyncio.timeout(deadline_s):
            await loop.sock_sendall(sock, request)
            line = await _read_line(sock)
    except TimeoutError as error:
        raise UnavailableError(f"no answer to {verb!r} within {deadline_s:g} s") from error
    except OSError as error:
        raise UnavailableError(f"{verb!r} could not be asked: {error.strerror or error}") from error
    return wire.result_of(verb, wire.parse_line(line) if line else None)


async def _read_line(sock: socket.socket) -> bytes:
    """Up to its end and not a byte further; b"" if the connection ended before."""
    line = bytearray()
    while not line.endswith(b"\n"):
        await _readable(sock)
        try:
            seen = sock.recv(wire.RELAY_CHUNK, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen:
            return b""
        end = seen.find(b"\n") + 1
        line += sock.recv(end or len(seen))
        if len(line) > wire.MAX_LINE:
            raise WireError(f"a line is longer than {wire.MAX_LINE} bytes")
    return bytes(line)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def told() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, told)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
