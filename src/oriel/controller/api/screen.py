"""A desktop's screen by RFB: bytes both ways, with a guard over what the viewer does."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

from fastapi import APIRouter

from oriel.controller.api.clipboard import way_of
from oriel.controller.api.streams import both
from oriel.controller.attending import SILENCE_S, about_of, attend, hold_of
from oriel.controller.control import ControlLease, Viewer
from oriel.controller.door import Opened, add_door, messages
from oriel.controller.parts import Parts
from oriel.controller.rights import Mode, seconds_until
from oriel.controller.sharing import Circle
from oriel.controller.store.desktops import Desktop
from oriel.model.errors import WireError
from oriel.porter.rfb import Hands, NoHands, RfbGuard

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops")

PIECE = 1 << 17


@asynccontextmanager
async def _open_vnc(parts: Parts, found: Desktop) -> AsyncIterator[socket.socket]:
    async with parts.fleet.keeper(found.id).socket("vnc") as sock:
        yield sock


async def vnc(opened: Opened) -> None:
    """RFB bytes, cut anywhere. `?viewer=` names their session: what they do counts while they drive."""
    circle = opened.parts.sharing.circle(opened.desktop.id)
    named = opened.websocket.query_params.get("viewer", "")
    # As it is now that whoever changes it ends this connection.
    way = await way_of(opened.parts, opened.desktop.id)
    with ExitStack() as stack:
        if named:
            viewer = circle.of_session(named, opened.principal)
        else:
            viewer = stack.enter_context(circle.join(opened.principal, opened.mode))
            viewer.rung = "vnc"
        if opened.carry is not None:
            about = about_of(opened, viewer, watched=bool(named))
            hold, left_s = hold_of(circle, viewer), seconds_until(opened.ends)
            carried = await opened.carry(
                opened.target, "screen", about, hands=hold, clipboard=way, left_s=left_s
            )
            await attend(opened.parts, carried, circle, viewer)
            return
        drives = opened.mode is Mode.CONTROL
        guard = RfbGuard(_Hands(circle.lease, viewer) if drives else NoHands(), way)
        await _relay(opened, circle, viewer, guard, watched=bool(named))


class _Hands(Hands):
    def __init__(self, lease: ControlLease, viewer: Viewer) -> None:
        self._lease = lease
        self._viewer = viewer

    def drive(self) -> bool:
        return self._lease.drive(self._viewer)

    def move(self) -> bool:
        return self._lease.move(self._viewer)


async def _relay(opened: Opened, circle: Circle, viewer: Viewer, guard: RfbGuard, *, watched: bool) -> None:
    # Here only where there is no porter.
    reader, writer = await asyncio.open_unix_connection(sock=opened.target)
    relayed = opened.parts.metrics.relayed
    outward, inward = relayed.labels(kind="vnc", direction="out"), relayed.labels(kind="vnc", direction="in")

    async def from_desktop() -> None:
        while data := await reader.read(PIECE):
            outward.inc(len(data))
            if told := guard.told(memoryview(data)):
                await opened.websocket.send_bytes(bytes(told))

    async def from_viewer() -> None:
        async for message in messages(opened.websocket):
            if isinstance(message, str):
                raise WireError("RFB is binary")
            inward.inc(len(message))
            if passed := guard.feed(message):
                writer.write(passed)
                await writer.drain()

    async def let_go() -> None:
        """Of what is down, when somebody else drives, or nothing more is heard from the viewer."""
        with circle.watch() as changed:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE_S / 2 if watched and guard.holding else None):
                        await changed.wait()
                changed.clear()
                silent = watched and time.monotonic() - viewer.heard > SILENCE_S
                if guard.holding and (silent or circle.lease.holder is not viewer):
                    writer.write(guard.release())

    try:
        await both(from_desktop(), from_viewer(), let_go())
    finally:
        # A connection that ends must not leave a key down in the desktop.
        with suppress(ConnectionError):
            writer.write(guard.release())
        writer.close()


add_door(router, "vnc", _open_vnc, vnc, views=True, carried=True)
