"""Checks by eye: the first picture, and both windows painted in it."""

from __future__ import annotations

import time
from collections.abc import Callable

from oriel.client.picture import Area, Picture
from oriel.client.verify.inspection import Inspection
from oriel.client.verify.paint import browser_painted, detail_of, terminal_painted, text_rows
from oriel.client.verify.report import UnmetError
from oriel.client.viewer import open_viewer

__all__ = ["boot_under_30s", "browser_visible", "terminal_visible", "vnc_connects"]

BOOT_LIMIT_S = 30.0
PICTURE_DEADLINE_S = 5.0  # "at once", with room for a host that is busy emulating
PAINT_DEADLINE_S = 10.0
LEAST_VISIBLE = 100  # pixels each way of a window that a person would call visible


async def boot_under_30s(inspection: Inspection) -> str:
    """By the controller's clock: from being asked to ready, both windows painted."""
    total = inspection.desktop.info.timings.get("total")
    if total is None:
        raise UnmetError("the desktop has no timings: it was never ready")
    if total >= BOOT_LIMIT_S:
        raise UnmetError(
            f"it took {total:.1f} s until both windows were painted; the limit is {BOOT_LIMIT_S:g} s"
        )
    return f"ready {total:.2f} s after it was asked for"


async def vnc_connects(inspection: Inspection) -> str:
    """As the page does it: a ticket, a WebSocket, RFB, and a whole picture that is not blank."""
    began = time.monotonic()
    ticket = await inspection.desktop.ticket()
    socket = await inspection.desktop.vnc(ticket=ticket.ticket)
    viewer = await inspection.stack.enter_async_context(open_viewer(socket))
    picture = await viewer.first_picture(deadline_s=PICTURE_DEADLINE_S)
    seconds = time.monotonic() - began
    inspection.viewer = viewer
    if not detail_of(picture):
        raise UnmetError(f"the picture of {picture.width}x{picture.height} is of one colour only")
    return f"{picture.width}x{picture.height} drawn whole {seconds:.2f} s after asking for a ticket"


async def terminal_visible(inspection: Inspection) -> str:
    window, area = await _on_screen(inspection, "terminal")
    picture = await _painted(inspection, area, "terminal", terminal_painted)
    return f"{window['title']!r} at {area}, {text_rows(picture)} rows of pixels carry text"


async def browser_visible(inspection: Inspection) -> str:
    window, area = await _on_screen(inspection, "browser")
    blank = str(window["title"]).startswith("about:blank")
    picture = await _painted(
        inspection, area, "browser", lambda picture: browser_painted(picture, blank_page=blank)
    )
    return f"{window['title']!r} at {area}, {detail_of(picture)} pixels of detail"


async def _on_screen(inspection: Inspection, kind: str) -> tuple[dict[str, object], Area]:
    window, area = await inspection.window(kind)
    if min(area.width, area.height) < LEAST_VISIBLE:
        raise UnmetError(f"only {area} of the {kind}'s window is on the screen")
    if not window["painted"]:
        raise UnmetError(f"the {kind}'s window at {area} is mapped, but covered or not painted")
    return window, area


async def _painted(
    inspection: Inspection, area: Area, kind: str, holds: Callable[[Picture], bool]
) -> Picture:
    viewer = inspection.seeing()
    await viewer.until(
        lambda: holds(viewer.picture(area)),
        deadline_s=PAINT_DEADLINE_S,
        what=f"a painted {kind} in the viewer's picture at {area}",
    )
    return viewer.picture(area)
