"""What a controller does by itself for as long as it lives, whoever asks or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

from oriel.controller.parts import Parts
from oriel.controller.problems import neutral
from oriel.controller.restarts import Restarts
from oriel.controller.rules import Traffic, keep_rules
from oriel.controller.store.events import trim
from oriel.controller.tally import tally
from oriel.model.errors import OrielError

__all__ = ["background", "begin", "finish"]

TRIM_EVERY_S = 600.0
AGAIN_S = 2.0
_LOG = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def background() -> AsyncIterator[asyncio.TaskGroup]:
    """A group whose tasks run as long as the block: most have no end of their own."""
    made: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            made.set_result(group)
            await asyncio.Event().wait()

    task = asyncio.create_task(run(), name="background")
    try:
        yield await made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def begin(group: asyncio.TaskGroup, parts: Parts) -> None:
    """All of it, in `group`; what fails there begins again."""
    database, supervisor, settings = parts.database, parts.supervisor, parts.settings
    traffic = Traffic(parts.fleet, settings.idle_bytes_per_second)
    restarts = Restarts(bus=parts.bus, database=database, supervisor=supervisor, metrics=parts.metrics)
    lasting: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "porter": parts.porter.keep,
        "adopt": supervisor.keep_adopting,
        "trim events": lambda: _trim(parts),
        "pool": parts.pool.keep,
        "rules": lambda: keep_rules(database, parts.live, supervisor, parts.moments, traffic),
        "tally": lambda: tally(parts.bus, database, parts.metrics),
        "restarts": restarts.watch,
    }
    if settings.keep_templates:
        lasting["templates"] = parts.templates.keep
    for name, work in lasting.items():
        group.create_task(_lasting(work), name=name)


async def _lasting(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """To its own end; begun again if it fails: raised in the group, that would end everything else."""
    while True:
        try:
            return await work()
        except Exception as error:
            neutral(error)
        await asyncio.sleep(AGAIN_S)


async def _trim(parts: Parts) -> None:
    while True:
        try:
            await parts.database.write(lambda t: trim(t, parts.settings.events_kept))
        except OrielError as error:
            _LOG.warning("old events could not be dropped", reason=error.message)
        await asyncio.sleep(TRIM_EVERY_S)


async def finish(parts: Parts) -> None:
    """What requests have left to be done behind their answers."""
    await asyncio.gather(*parts.background, return_exceptions=True)
