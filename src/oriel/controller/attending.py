"""What the porter carries: whose hands count on a screen, and who may still look after a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import structlog

from oriel.controller.access import reach_into
from oriel.controller.control import Viewer
from oriel.controller.door import Opened, until_ended
from oriel.controller.live import Connection
from oriel.controller.parts import Parts
from oriel.controller.problems import neutral, status_of
from oriel.controller.rights import Mode, Permission, Principal, Reach, seconds_until
from oriel.controller.sharing import Circle
from oriel.controller.store.desktops import Desktop
from oriel.model.errors import AuthError, OrielError
from oriel.porter import Carried

__all__ = ["SILENCE_S", "about_of", "attend", "hold_of", "take_up"]

SILENCE_S = 5.0  # of a session whose viewer holds a key down: then it counts as gone, and lets go
_LOG = structlog.get_logger(__name__)


def about_of(opened: Opened, viewer: Viewer, *, watched: bool) -> dict[str, Any]:
    """What a later controller must know to take it up. `watched`: it belongs to a session of its own."""
    principal = asdict(opened.principal)
    principal["permissions"] = sorted(opened.principal.permissions)
    return {
        "desktop": opened.desktop.id, "generation": opened.desktop.generation, "principal": principal,
        "mode": str(opened.mode), "viewer": viewer.id, "watched": watched,
    }  # fmt: skip


def hold_of(circle: Circle, viewer: Viewer) -> str:
    """What this viewer's hands do now (porter/screen.py, `Hold`)."""
    if not viewer.may_drive:
        return "looks"
    holder = circle.lease.holder
    return "free" if holder is None else "drives" if holder is viewer else "asks"


async def attend(parts: Parts, carried: Carried, circle: Circle, viewer: Viewer) -> None:
    """Until it has ended."""

    def wants() -> None:
        if circle.lease.drive(viewer):
            carried.change(hold_of(circle, viewer))
        else:
            carried.refuse()

    carried.on_wants = wants
    carried.on_used = lambda: _used(circle, viewer)
    watched = bool(carried.about["watched"])
    telling = asyncio.create_task(_tell(carried, circle, viewer, watched=watched))
    try:
        ended = await asyncio.shield(carried.ended)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    for direction, count in (("in", ended.bytes_in), ("out", ended.bytes_out)):
        parts.metrics.relayed.labels(kind="vnc", direction=direction).inc(count)


def _used(circle: Circle, viewer: Viewer) -> None:
    if circle.lease.holder is viewer:
        circle.lease.drive(viewer)


async def _tell(carried: Carried, circle: Circle, viewer: Viewer, *, watched: bool) -> None:
    """Every change of who drives; and to let go of what is down, when nothing is heard from the viewer."""
    with circle.watch() as changed:
        while True:
            changed.clear()
            if (now := hold_of(circle, viewer)) != carried.hands:
                carried.change(now)
            if watched and time.monotonic() - viewer.heard > SILENCE_S:
                carried.release()
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S / 2 if watched else None):
                    await changed.wait()


# With a session that was open, until it ends; the routes' own, which stand above this module.
GoOn = Callable[[Parts, Carried, Desktop, Circle, Viewer], Coroutine[Any, Any, None]]


async def take_up(parts: Parts, carried: Carried, session: GoOn) -> None:
    """One that an earlier controller let in: whoever may not look any more is told so, the others go on."""
    if carried.kind == "download":
        return  # it has an end of its own
    try:
        await _take_up(parts, carried, session)
    except OrielError as error:
        _LOG.info("what was open is closed", kind=carried.kind, code=error.code)
        carried.end(4000 + status_of(error), error.code)
    except Exception as error:
        carried.end(4500, neutral(error).code)


async def _take_up(parts: Parts, carried: Carried, session: GoOn) -> None:
    about = carried.about
    principal, mode = _principal(about["principal"]), Mode(about["mode"])
    await parts.credentials.check(principal)
    found, reach, ends = await reach_into(parts, principal, about["desktop"])
    if mode is Mode.CONTROL and reach is Reach.VIEW:
        raise AuthError("the right to control it has ended", hint="connect again")
    if found.generation != about["generation"]:
        raise AuthError("the desktop has started anew", hint="connect again")
    screen = carried.kind == "screen"
    connection = Connection(found.id, "vnc" if screen else "webrtc", principal, str(mode))
    circle = parts.sharing.circle(found.id)
    drives = carried.hands == "drives" or about.get("drives", False)
    rejoined = circle.rejoin(about["viewer"], principal, mode, drives=drives)
    with parts.live.register(connection), rejoined as viewer:
        viewer.heard = time.monotonic()
        _LOG.info("goes on", kind=carried.kind, desktop=found.id, viewer=viewer.id)
        if screen:
            viewer.rung = "vnc"
            going_on = attend(parts, carried, circle, viewer)
        else:
            going_on = session(parts, carried, found, circle, viewer)
        await until_ended(going_on, connection, seconds_until(ends))
    carried.end(1000, "")


def _principal(told: Mapping[str, Any]) -> Principal:
    permissions = frozenset(Permission(one) for one in told["permissions"])
    return Principal(**{**told, "permissions": permissions})
