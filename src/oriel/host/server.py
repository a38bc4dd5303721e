"""A unix socket of ours: who may open it, who may ask, and what it answers to the unexpected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

from oriel.host.accounts import Account, may_command
from oriel.host.exhaustion import exhausted
from oriel.model import wire
from oriel.model.errors import ForbiddenError, HostError, OrielError

__all__ = ["logged", "serve_unix"]

LONGEST_PATH = 107  # bytes of sun_path, without its final NUL (unix(7))
REFUSAL_DEADLINE_S = 2.0
_LOG = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serve_unix(
    path: Path, handlers: Mapping[str, wire.Handler], account: Account
) -> AsyncIterator[None]:
    """Serve `handlers` on `path` (0660 root:oriel) to root and the user oriel, until the context ends.

    HostError if the path is too long for a socket. Leaving closes every connection and removes the path.
    """
    listener = _listen(path, account)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        connections.add(task)
        try:
            await _serve_peer(reader, writer, handlers, account)
        finally:
            connections.discard(task)

    server = await asyncio.start_unix_server(serve, sock=listener, limit=wire.MAX_LINE)
    try:
        yield
    finally:
        _remove(path)
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _listen(path: Path, account: Account) -> socket.socket:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise HostError(
            f"the path {path} is too long for a socket ({LONGEST_PATH} bytes at most)",
            hint="choose a home directory with a shorter path",
        )
    _remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    # The group first, then the mode: at no moment may anyone else connect.
    os.chown(path, 0, account.gid)
    path.chmod(0o660)
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _serve_peer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handlers: Mapping[str, wire.Handler],
    account: Account,
) -> None:
    peer = wire.peer_of(writer)
    if not may_command(peer, account):
        _LOG.warning("uid %d was refused", peer.uid)
        refusal = ForbiddenError("only root and the user oriel may ask here")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(REFUSAL_DEADLINE_S):
                # The request is read, not heeded: closing on unread bytes would take the answer away too.
                await reader.readline()
                await wire.write_line(writer, {"ok": False, "error": refusal.to_wire()})
        await wire.close(writer)
        return
    with contextlib.suppress(asyncio.CancelledError):
        await wire.handle_connection(reader, writer, handlers, on_unknown_error=_neutral)


def logged(handlers: Mapping[str, wire.Handler], quiet: Collection[str]) -> dict[str, wire.Handler]:
    """With a line in the log for each that was served, how long it took and how it ended; not of the `quiet`
    ones."""
    return {verb: handler if verb in quiet else _logged(handler) for verb, handler in handlers.items()}


def _logged(handler: wire.Handler) -> wire.Handler:
    async def served(call: wire.Call) -> Mapping[str, Any] | None:
        began, outcome = time.monotonic(), "unexpected"
        try:
            result = await handler(call)
            outcome = "ok"
            return result
        except OrielError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            told = {"verb": call.verb, "outcome": outcome, "seconds": round(time.monotonic() - began, 3)}
            _LOG.info("served %s", call.verb, extra={"event": told})

    return served


def _neutral(error: BaseException) -> OrielError:
    number = secrets.token_hex(4)
    _LOG.error("unexpected error %s", number, exc_info=error)
    return exhausted(error) or OrielError(
        f"something unexpected went wrong (error {number})", hint="the log has that number"
    )
