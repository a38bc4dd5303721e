"""`connect`: a raw connection with one of the desktop's own services."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from oriel.model.errors import UnavailableError
from oriel.model.wire import Call, relay

__all__ = ["connect", "connect_media"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(call: Call, port: int) -> None:
    """Join the caller with 127.0.0.1:`port` until both have ended. UnavailableError if nobody listens."""
    opening = asyncio.open_connection("127.0.0.1", port)
    await _join(call, opening, f"port {port} of the desktop")


async def connect_media(call: Call, path: Path) -> None:
    """Join the caller with the live view's service, which its socket starts if it does not run."""
    await _join(call, asyncio.open_unix_connection(str(path)), "the desktop's live view")


async def _join(call: Call, opening: Coroutine[Any, Any, Streams], where: str) -> None:
    try:
        async with asyncio.timeout(10):
            reader, writer = await opening
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            f"nothing answers on {where}",
            hint="its service may be starting; `units` tells the state of each",
        ) from error
    try:
        await call.answer({})
        await relay((call.reader, call.writer), (reader, writer))
    finally:
        writer.close()
