"""Asking a running Firecracker, over the socket in its jail, one connection per request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h11

from oriel.machine.firecracker.calls import Call
from oriel.model.errors import LaunchError, UnavailableError

__all__ = ["ask"]

CHUNK = 1 << 16
REFUSED = 400


async def ask(jail: Path, socket: str, call: Call, *, deadline_s: float) -> Any:
    """The JSON it answers with, or None. LaunchError with its own words if it refuses; UnavailableError if it
    does not answer in time."""
    try:
        async with asyncio.timeout(deadline_s):
            with _short(jail) as directory:
                reader, writer = await asyncio.open_unix_connection(f"{directory}{socket}")
            try:
                status, body = await _exchange(reader, writer, call)
            finally:
                writer.close()
    except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
        raise UnavailableError(
            f"Firecracker did not answer {call.method} {call.path}: {error or 'no answer in time'}"
        ) from error
    answer = _json(body)
    if status >= REFUSED:
        said = answer.get("fault_message") if isinstance(answer, dict) else None
        raise LaunchError(f"Firecracker refused {call.method} {call.path}: {said or f'status {status}'}")
    return answer


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    data = b"" if call.body is None else json.dumps(call.body).encode()
    headers = [("Host", "localhost"), ("Accept", "application/json"), ("Content-Length", str(len(data)))]
    if data:
        headers.append(("Content-Type", "application/json"))
    for part in (
        h11.Request(method=call.method, target=call.path, headers=headers),
        *([h11.Data(data=data)] if data else []),
        h11.EndOfMessage(),
    ):
        writer.write(connection.send(part) or b"")
    await writer.drain()
    status, body = 0, b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
    if not status:
        raise UnavailableError(f"Firecracker ended instead of answering {call.method} {call.path}")
    return status, body


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Another path of `directory`: a socket's may have 107 bytes, and a jail lies deep."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
