"""A viewer's session (`webrtc`): who else looks, who drives, and the stream, if there is one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter

from oriel.controller.api.clipboard import way_of
from oriel.controller.api.streams import both
from oriel.controller.attending import about_of
from oriel.controller.control import Kind, Viewer
from oriel.controller.door import Opened, add_door
from oriel.controller.downloads import finished
from oriel.controller.guest import Guest
from oriel.controller.lines import CarriedEnds, Ends, OwnEnds, tell
from oriel.controller.parts import Parts
from oriel.controller.rights import seconds_until
from oriel.controller.sharing import Circle
from oriel.controller.signalling import MEDIA, Place, Signalling, place_of
from oriel.controller.store.desktops import Desktop
from oriel.fleet import Keeper
from oriel.model import wire
from oriel.model.clipboard import Way
from oriel.model.errors import BusyError, Fault, InvalidError, NotFoundError, OrielError, UnavailableError
from oriel.porter import Carried
from oriel.porter.session import MAX_TEXT, Budget

__all__ = ["go_on", "router"]

router = APIRouter(prefix="/v1/desktops")

VERSION = 1
AGAIN_S = 2.0
RUNGS = ("udp", "tcp", "vnc", "")


@asynccontextmanager
async def _open(parts: Parts, found: Desktop) -> AsyncIterator[Keeper]:
    """Nothing is asked of the desktop before the viewer does."""
    yield parts.fleet.keeper(found.id)


async def webrtc(opened: Opened) -> None:
    """JSON messages both ways, as docs/internals.md has them."""
    parts, keeper = opened.parts, opened.target
    circle = parts.sharing.circle(opened.desktop.id)
    place = place_of(parts.settings, opened.websocket)
    with circle.join(opened.principal, opened.mode) as viewer:
        ends: Ends = OwnEnds(opened.websocket)
        if opened.carry is not None:
            about = about_of(opened, viewer, watched=False) | {"place": asdict(place), "stream": None}
            left_s = seconds_until(opened.ends)
            ends = CarriedEnds(await opened.carry(None, "session", about, left_s=left_s))
        way = partial(way_of, parts, opened.desktop.id)
        await _Session(keeper, place, ends, circle=circle, viewer=viewer, way=way).run()


async def go_on(parts: Parts, carried: Carried, desktop: Desktop, circle: Circle, viewer: Viewer) -> None:
    """With a session that an earlier controller has begun, until it ends."""
    about, ends = carried.about, CarriedEnds(carried)
    viewer.rung = about.get("rung", viewer.rung)
    viewer.name = about.get("name", viewer.name)
    keeper, place = parts.fleet.keeper(desktop.id), Place(**about["place"])
    way = partial(way_of, parts, desktop.id)
    session = _Session(keeper, place, ends, circle=circle, viewer=viewer, way=way)
    await session.run(about["stream"], ends)


class _Session:
    """`way`: which way the desktop's clipboard goes now."""

    def __init__(
        self, keeper: Keeper, place: Place, ends: Ends,
        *, circle: Circle, viewer: Viewer, way: Callable[[], Awaitable[Way]],
    ) -> None:  # fmt: skip
        self._keeper = keeper
        self._way = way
        self._circle = circle
        self._viewer = viewer
        self._ends = ends
        self._turn = asyncio.Lock()
        self._media = Signalling(keeper, place, ends, send=self.send, driving=self._driving)
        self._budget = Budget()

    async def run(self, stream: Mapping[str, Any] | None = None, again: CarriedEnds | None = None) -> None:
        """Until the viewer goes. `again`: an earlier controller welcomed it, and maybe began a `stream`."""
        if again is None:
            hello = {"version": VERSION, "viewer": self._viewer.id, "mode": str(self._viewer.mode)}
            await self.send({"type": "welcome", **hello})
        elif stream is not None:
            self._media.go_on(again, stream)
        elif again.forsake():
            await self.send({"type": "ended", **UnavailableError("the controller restarted").to_wire()})
        try:
            await both(self._tell(), self._listen(), self._watch_clipboard(), self._watch_downloads())
        finally:
            await self._media.end()

    async def send(self, message: Mapping[str, Any]) -> None:
        async with self._turn:
            await tell(self._ends.viewer, message)

    async def _tell(self) -> None:
        """Who looks and who drives, at first and at every change."""
        allowed: bool | None = None
        with self._circle.watch() as changed:
            while True:
                changed.clear()
                if allowed is not (now := self._circle.lease.holder is self._viewer):
                    allowed = now
                    self._ends.note({"drives": now})
                    await self._media.control(now)
                await self.send({"type": "people", **self._circle.to_json()})
                await changed.wait()

    async def _watch_clipboard(self) -> None:
        """Tell that something was copied in the desktop: the API gives all of it, RFB only its Latin-1.

        A desktop whose image is too old to tell is asked no more; one that is away for a moment, again.
        """
        with self._circle.watch() as changed:
            while True:
                changed.clear()
                if self._viewer.rung and self._viewer.may_drive:
                    try:
                        await self._follow_clipboard()
                    except NotFoundError:  # no such verb
                        await asyncio.Event().wait()
                    except OrielError:
                        await asyncio.sleep(AGAIN_S)
                        continue
                await changed.wait()

    async def _follow_clipboard(self) -> None:
        async with Guest(self._keeper).stream("clipboard_watch") as stream:
            while await wire.read_line(stream.reader) is not None:
                if (await self._way()).gives:
                    await self.send({"type": "clipboard"})
        raise UnavailableError("the desktop no longer tells of its clipboard")

    async def _watch_downloads(self) -> None:
        """Offer what was finished in Downloads to who may fetch it. As the clipboard for old images."""
        if not self._viewer.may_drive or self._viewer.kind is Kind.GUEST:
            await asyncio.Event().wait()
        while True:
            try:
                async for one in finished(Guest(self._keeper)):
                    await self.send({"type": "download", "name": one.name, "size": one.size})
            except NotFoundError:  # no such verb
                await asyncio.Event().wait()
            except OrielError:
                await asyncio.sleep(AGAIN_S)

    async def _listen(self) -> None:
        while (text := await self._ends.viewer.read()) is not None:
            self._viewer.heard = time.monotonic()
            if not self._budget.spend():
                raise BusyError("too many messages", retry_after_s=5)
            message = _parse(text)
            if message["type"] in MEDIA:
                await self._media.hear(message)
            else:
                await self._answer(message)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "ping":
            return await self.send({"type": "pong", "id": message.get("id")})
        try:
            self._act(kind, message)
        except OrielError as error:
            await self.send({"type": "refused", "what": kind, **error.to_wire()})

    def _act(self, kind: str, message: Mapping[str, Any]) -> None:
        lease, viewer = self._circle.lease, self._viewer
        if kind == "request":
            lease.request(viewer)
        elif kind == "drive":
            lease.drive(viewer)
        elif kind == "take":
            lease.take(viewer)
        elif kind == "withdraw":
            lease.withdraw(viewer)
        elif kind == "give":
            lease.give(viewer, None if message.get("to") is None else self._named(message["to"]))
        elif kind == "decline":
            lease.decline(viewer, self._named(message.get("to")))
        elif kind == "rung":
            viewer.rung = _rung(message.get("rung"))
            self._ends.note({"rung": viewer.rung})
            self._circle.tell()
        elif kind == "name":
            self._rename(message.get("name"))

    def _driving(self) -> None:
        """Input comes over the stream: only the guest sees it, and lets it count as it was told."""
        self._circle.lease.drive(self._viewer)

    def _named(self, viewer_id: object) -> Viewer:
        found = self._circle.viewers.get(str(viewer_id))
        if found is None:
            raise InvalidError("whoever that was has left")
        return found

    def _rename(self, name: object) -> None:
        """Who came by a link may say who they are. Nobody else has a choice."""
        if self._viewer.kind is not Kind.GUEST:
            return
        if not isinstance(name, str) or not name.strip() or len(name) > 40 or not name.isprintable():
            raise InvalidError.of([Fault("name", "must be 1 to 40 printable characters")])
        self._viewer.name = name.strip()
        self._ends.note({"name": self._viewer.name})
        self._circle.tell()


def _rung(value: object) -> str:
    if not isinstance(value, str) or value not in RUNGS:
        raise InvalidError.of([Fault("rung", "must be udp, tcp, vnc or empty")])
    return value


KINDS = frozenset((*MEDIA, "ping", "drive", "request", "take", "withdraw", "give", "decline", "rung", "name"))


def _parse(text: str) -> dict[str, Any]:
    """InvalidError for what is no message of this protocol."""
    try:
        message = json.loads(text) if len(text) <= MAX_TEXT else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("type") not in KINDS:
        raise InvalidError("that is no message of the session's protocol", hint="see docs/internals.md")
    return message


add_door(router, "webrtc", _open, webrtc, views=True, carried=True)
