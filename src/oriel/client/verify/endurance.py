"""Checks over time: nothing ends, restarts or drops a viewer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from oriel.client.verify.inspection import Inspection, Vitals
from oriel.client.verify.report import UnmetError
from oriel.model.errors import OrielError

__all__ = ["no_disconnects", "stays_alive"]

BEAT_S = 5.0  # between two signs of life that are asked for
ANSWER_DEADLINE_S = 10.0


async def stays_alive(inspection: Inspection) -> str:
    """Runs the soak: now and then some input, an update asked for, and the controller's word."""
    end = time.monotonic() + inspection.soak_s
    while True:
        left = end - time.monotonic()
        await _beat(inspection, left)
        if left <= 0:
            break
        await _wait(inspection, min(BEAT_S, left))
    if inspection.vitals is None:
        raise UnmetError("its services could not be read at the beginning, so nothing can be compared")
    now = await Vitals.of(inspection.desktop)
    if now.boot_id != inspection.vitals.boot_id:
        raise UnmetError(f"the desktop booted again within {_span(inspection)}")
    return f"looked for {_span(inspection)}: running, same boot, its agent answers"


async def no_disconnects(inspection: Inspection) -> str:
    """One viewer connected all the time, no service restarted, the same two windows."""
    viewer = inspection.seeing()
    if inspection.dropped:
        raise UnmetError(f"the viewer was dropped: {inspection.dropped}")
    await viewer.heartbeat(deadline_s=ANSWER_DEADLINE_S)
    if inspection.vitals is None:
        raise UnmetError("its services could not be read at the beginning, so nothing can be compared")
    changed = inspection.vitals.differences(await Vitals.of(inspection.desktop))
    if changed:
        raise UnmetError(f"within {_span(inspection)}: {'; '.join(changed)}")
    services = ", ".join(inspection.vitals.services)
    return f"one viewer for {_span(inspection)}, {viewer.updates} updates; not restarted: {services}"


async def _beat(inspection: Inspection, left_s: float) -> None:
    if left_s > 0:
        inspection.doing(f"soaking, {left_s:.0f} s left")
    info = await inspection.desktop.refresh()
    if info.state != "running":
        raise UnmetError(f"the desktop became {info.state}: {info.error}")
    viewer = inspection.viewer
    if viewer is None or inspection.dropped:
        return
    try:
        x, y = viewer.screen.centre
        await viewer.move(x + int(left_s) % 7, y)
        await viewer.heartbeat(deadline_s=ANSWER_DEADLINE_S)
    except OrielError as error:
        inspection.dropped = error.message


async def _wait(inspection: Inspection, seconds: float) -> None:
    """At most `seconds`; less if the viewer's connection ends, which is noted once."""
    viewer = None if inspection.dropped else inspection.viewer
    ended = viewer.ended if viewer else asyncio.Event()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()
            inspection.dropped = viewer.broken.message if viewer and viewer.broken else "it ended"


def _span(inspection: Inspection) -> str:
    seconds = inspection.watched_s
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
