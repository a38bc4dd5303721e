"""Everyone who looks at a desktop: who came, who drives, and who is told when that changes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from oriel.controller.control import ACTIVE_S, ControlLease, Kind, Viewer
from oriel.controller.rights import Mode, Principal, digest
from oriel.controller.store import desktops, events
from oriel.controller.store.database import Database, Transaction
from oriel.model.errors import NotFoundError, OrielError
from oriel.model.events import utc_now

__all__ = ["Circle", "Sharing"]

_LOG = structlog.get_logger(__name__)
PROGRAM_STAYS_S = 2 * ACTIVE_S

Note = Callable[[str, str, Mapping[str, Any]], None]


class Circle:
    """Those who look at one desktop."""

    def __init__(self, note: Note) -> None:
        self.viewers: dict[str, Viewer] = {}
        self.lease = ControlLease(self._changed)
        self._note = note
        self._told: Viewer | None = None
        self._watchers: set[asyncio.Event] = set()
        self._programs: dict[str, asyncio.TimerHandle] = {}
        self._connections: Counter[str] = Counter()  # of each that was there before a restart

    @contextmanager
    def join(self, principal: Principal, mode: Mode) -> Iterator[Viewer]:
        """Be one of them for the block."""
        viewer = self._add(secrets.token_hex(6), principal, mode)
        self.lease.arrive(viewer)
        try:
            yield viewer
        finally:
            self._remove(viewer)

    @contextmanager
    def rejoin(self, viewer_id: str, principal: Principal, mode: Mode, *, drives: bool) -> Iterator[Viewer]:
        """Be who one was before the controller restarted; a session and its screen are one."""
        viewer = self.viewers.get(viewer_id)
        if viewer is None or viewer.key != principal.hand:
            viewer = self._add(viewer_id, principal, mode)
        self._connections[viewer.id] += 1
        if drives:
            self.lease.drive(viewer)
        try:
            yield viewer
        finally:
            self._connections[viewer.id] -= 1
            if not self._connections[viewer.id]:
                del self._connections[viewer.id]
                self._remove(viewer)

    def program(self, principal: Principal, mode: Mode = Mode.CONTROL) -> Viewer:
        """Who asks without a connection: who drives with the same token, or a program that stays a while."""
        holder = self.lease.holder
        if holder is not None and holder.key == principal.hand:
            return holder
        viewer_id = f"api-{digest(principal.hand)[:8]}"
        if timer := self._programs.pop(viewer_id, None):
            timer.cancel()
        viewer = self.viewers.get(viewer_id)
        if viewer is None:
            viewer = self._add(viewer_id, principal, mode)
            self.lease.arrive(viewer)

        def forget() -> None:
            self._programs.pop(viewer_id, None)
            self._remove(viewer)

        self._programs[viewer_id] = asyncio.get_running_loop().call_later(PROGRAM_STAYS_S, forget)
        return viewer

    def of_session(self, viewer_id: str, principal: Principal) -> Viewer:
        """The viewer whose session has this id. NotFoundError if it is another's, or over."""
        found = self.viewers.get(viewer_id)
        if found is None or found.key != principal.hand:
            raise NotFoundError("there is no such session", hint="open the WebSocket webrtc first")
        return found

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change; whoever waits clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    def to_json(self) -> dict[str, Any]:
        return {
            "viewers": [viewer.to_json() for viewer in self.viewers.values()],
            "holder": self.lease.holder.id if self.lease.holder else None,
            "requests": [viewer.id for viewer in self.lease.requests],
        }

    def tell(self) -> None:
        """Something about a viewer has changed that others see."""
        for event in self._watchers:
            event.set()

    def close(self) -> None:
        for timer in self._programs.values():
            timer.cancel()

    def _add(self, viewer_id: str, principal: Principal, mode: Mode) -> Viewer:
        kind = Kind.GUEST if principal.desktop else Kind.PERSON if principal.session else Kind.AGENT
        name = (principal.token_name if kind is Kind.AGENT else "") or principal.name
        viewer = Viewer(
            id=viewer_id, key=principal.hand, name=name, kind=kind, mode=mode,
            since=utc_now(), heard=time.monotonic(),
        )  # fmt: skip
        self.viewers[viewer_id] = viewer
        self._note("viewer.joined", f"{name} looks at it", viewer.to_json())
        self.tell()
        return viewer

    def _remove(self, viewer: Viewer) -> None:
        if self.viewers.pop(viewer.id, None) is None:
            return
        self.lease.leave(viewer)
        self._note("viewer.left", f"{viewer.name} has left", viewer.to_json())
        self.tell()

    def _changed(self) -> None:
        holder = self.lease.holder
        if holder is not self._told:
            self._told = holder
            who = {"id": holder.id, "name": holder.name, "kind": str(holder.kind)} if holder else {}
            self._note("control.changed", f"{holder.name} drives" if holder else "nobody drives", who)
        self.tell()


class Sharing:
    """The circles of all desktops. What happens in them becomes events, written behind it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._circles: dict[str, Circle] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def circle(self, desktop_id: str) -> Circle:
        found = self._circles.get(desktop_id)
        if found is None:

            def note(kind: str, message: str, data: Mapping[str, Any]) -> None:
                task = asyncio.get_running_loop().create_task(self._write(desktop_id, kind, message, data))
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)

            found = self._circles[desktop_id] = Circle(note)
        return found

    def summary(self, desktop_id: str) -> dict[str, Any]:
        """What the desktop's document tells: who drives it, how many look."""
        found = self._circles.get(desktop_id)
        holder = found.lease.holder if found else None
        driver = {"name": holder.name, "kind": str(holder.kind)} if holder else None
        return {"driver": driver, "viewers": len(found.viewers) if found else 0}

    def forget(self, desktop_id: str) -> None:
        """The desktop is gone; its connections end by themselves."""
        if found := self._circles.pop(desktop_id, None):
            found.close()

    async def close(self) -> None:
        for circle in self._circles.values():
            circle.close()
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _write(self, desktop_id: str, kind: str, message: str, data: Mapping[str, Any]) -> None:
        def write(transaction: Transaction) -> None:
            found = desktops.find(transaction.connection, desktop_id)
            if found is not None:
                events.record(transaction, found, kind, message, data)

        try:
            await self._database.write(write)
        except OrielError as error:
            _LOG.warning("an event could not be written", kind=kind, reason=error.message)
