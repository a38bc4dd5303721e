"""Who drives a desktop: one at a time, of those who may. Pure; the clock is given.

Whoever has the right to control and comes when nobody drives gets the lease. It is theirs while they use
it: others must ask, an account holder may take it back at once. After `ACTIVE_S` without a key or a click
it lapses: then the next one who drives has it. All that belongs to one token counts as one hand: its tabs
and programs pass the lease among themselves without asking.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from oriel.controller.rights import Mode
from oriel.model.errors import ForbiddenError, InvalidError, StateError

__all__ = ["ACTIVE_S", "ControlLease", "Kind", "Viewer"]

ACTIVE_S = 15.0
_NEVER = float("-inf")


class Kind(StrEnum):
    PERSON = "person"
    GUEST = "guest"  # by a link, without an account
    AGENT = "agent"  # a program


@dataclass(eq=False, kw_only=True)
class Viewer:
    """One who looks at a desktop. `key`: of the token or link it came by. `heard`: its last sign of life."""

    id: str
    key: str
    name: str
    kind: Kind
    mode: Mode
    since: str
    rung: str = ""
    heard: float = _NEVER

    @property
    def may_drive(self) -> bool:
        return self.mode is Mode.CONTROL

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "name": self.name, "kind": str(self.kind), "mode": str(self.mode),
            "rung": self.rung, "since": self.since,
        }  # fmt: skip


class ControlLease:
    """`on_change` is called after the holder or the requests have changed."""

    def __init__(
        self, on_change: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.holder: Viewer | None = None
        self.requests: list[Viewer] = []
        self._on_change = on_change
        self._clock = clock
        self._used = _NEVER

    @property
    def active(self) -> bool:
        """Whether whoever holds it is using it."""
        return self.holder is not None and self._clock() - self._used < ACTIVE_S

    def arrive(self, viewer: Viewer) -> None:
        """A person who may drive does so at once, if nobody else does; a program from its first key on."""
        if self.holder is None and viewer.may_drive and viewer.kind is not Kind.AGENT:
            self._pass_to(viewer, used=False)

    def leave(self, viewer: Viewer) -> None:
        if viewer in self.requests:
            self.requests.remove(viewer)
            self._on_change()
        if self.holder is viewer:
            self._pass_to(self.requests[0] if self.requests else None)

    def drive(self, viewer: Viewer) -> bool:
        """`viewer` presses a key or a button. Whether that counts; if it does, the lease is theirs."""
        if not self.could_drive(viewer):
            return False
        self._used = self._clock()
        if self.holder is not viewer:
            self._pass_to(viewer)
        return True

    def could_drive(self, viewer: Viewer) -> bool:
        if not viewer.may_drive:
            return False
        holder = self.holder
        return holder is None or holder is viewer or holder.key == viewer.key or not self.active

    def move(self, viewer: Viewer) -> bool:
        """`viewer` only moves the pointer: that counts for whoever drives, and takes nothing from anyone."""
        if self.holder is viewer:
            self._used = self._clock()
        return viewer.may_drive and self.holder in (viewer, None)

    def require(self, viewer: Viewer) -> None:
        """As `drive`. StateError, saying who drives, if it does not count."""
        if self.drive(viewer):
            return
        if not viewer.may_drive:
            raise ForbiddenError("a right to look does not drive", code="view_only")
        name = self.holder.name if self.holder else "somebody else"
        raise StateError(
            f"{name} is driving this desktop",
            hint=f"POST …/control takes or asks for it; {ACTIVE_S:.0f} s after their last key it is free",
            code="not_driving",
        )

    def take(self, viewer: Viewer) -> bool:
        """At once for account holders; a guest asks for what somebody uses. Whether `viewer` has it now."""
        self._must_be_able(viewer)
        if viewer.kind is Kind.GUEST and not self.could_drive(viewer):
            return self.request(viewer)
        self._used = self._clock()
        if self.holder is not viewer:
            self._pass_to(viewer)
        return True

    def request(self, viewer: Viewer) -> bool:
        """Ask the holder for it. Whether it was free to have, and is `viewer`'s now."""
        self._must_be_able(viewer)
        if self.could_drive(viewer):
            return self.take(viewer)
        if viewer not in self.requests:
            self.requests.append(viewer)
            self._on_change()
        return False

    def withdraw(self, viewer: Viewer) -> None:
        if viewer in self.requests:
            self.requests.remove(viewer)
            self._on_change()

    def decline(self, by: Viewer, to: Viewer) -> None:
        self._must_hold(by)
        self.withdraw(to)

    def give(self, by: Viewer, to: Viewer | None) -> None:
        """Hand it to `to`, or let go of it."""
        self._must_hold(by)
        if to is not None:
            self._must_be_able(to)
        self._pass_to(to)

    def _pass_to(self, viewer: Viewer | None, *, used: bool = True) -> None:
        self.holder = viewer
        self._used = self._clock() if used and viewer is not None else _NEVER
        if viewer in self.requests:
            self.requests.remove(viewer)
        self._on_change()

    def _must_hold(self, viewer: Viewer) -> None:
        if self.holder is not viewer:
            raise StateError("only who drives can hand that over", hint="take it first", code="not_driving")

    def _must_be_able(self, viewer: Viewer) -> None:
        if not viewer.may_drive:
            raise InvalidError(f"{viewer.name} may only look", hint="share a link with which they may drive")
