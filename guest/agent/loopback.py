"""`connect`: a raw connection with one of the desktop's own services."""

from __future__ import annotations

import asyncio

from oriel.model.errors import UnavailableError
from oriel.model.wire import Call, relay

__all__ = ["connect"]


async def connect(call: Call, port: int) -> None:
    """Join the caller with 127.0.0.1:`port` until both have ended. UnavailableError if nobody listens."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError) as error:
        raise UnavailableError(
            f"nothing answers on port {port} of the desktop",
            hint="its service may be starting; `units` tells the state of each",
        ) from error
    try:
        await call.answer({})
        await relay((call.reader, call.writer), (reader, writer))
    finally:
        writer.close()
