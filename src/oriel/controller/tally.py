"""Counting what happens to desktops: how long starts and their steps took, what failed and why."""

from __future__ import annotations

import re

import structlog

from oriel.controller.bus import Bus
from oriel.controller.metrics import Metrics
from oriel.controller.store import desktops
from oriel.controller.store.database import Database
from oriel.model.errors import OrielError
from oriel.model.events import Event

__all__ = ["tally"]

# Labels are few and short, whatever a keeper of another version says.
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,31}\Z")
_LOG = structlog.get_logger(__name__)


async def tally(bus: Bus, database: Database, metrics: Metrics) -> None:
    """Until the bus closes. What happens while it lags behind is not counted."""
    while not bus.closed:
        with bus.subscribe() as news:
            async for event in news:
                try:
                    await _count(event, database, metrics)
                except OrielError as error:
                    _LOG.warning("an event is not counted", kind=event.kind, reason=error.message)


async def _count(event: Event, database: Database, metrics: Metrics) -> None:
    if event.kind.startswith("step."):
        metrics.steps.labels(step=_word(event.kind[5:])).observe(_seconds(event, "seconds"))
    elif event.kind == "state.failed":
        found = await database.read(lambda c: desktops.find(c, event.desktop))
        code = (found.error or {}).get("code", "") if found is not None else ""
        metrics.failures.labels(code=_word(str(code))).inc()
    elif event.kind == "state.running" and "total" in event.data:
        found = await database.read(lambda c: desktops.find(c, event.desktop))
        if found is not None:
            metrics.starts.labels(runtime=str(found.runtime)).observe(_seconds(event, "total"))


def _word(text: str) -> str:
    return text if _WORD.match(text) else "other"


def _seconds(event: Event, key: str) -> float:
    value = event.data.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
