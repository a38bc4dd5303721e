"""One run over one desktop: what the checks share, and the order they go in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from oriel.client.aio.desktop import Desktop
from oriel.client.picture import Area
from oriel.client.values import CommandResult
from oriel.client.verify.report import CheckResult, UnmetError
from oriel.client.viewer import Viewer
from oriel.model.errors import OrielError

__all__ = ["Check", "Inspection", "Vitals"]


@dataclass(frozen=True)
class Vitals:
    """What must be the same after a while if nothing crashed: boot, services, the two windows."""

    boot_id: str
    services: dict[str, tuple[int, int]]  # name: restarts, pid
    windows: dict[str, int]  # kind: X window

    @staticmethod
    async def of(desktop: Desktop) -> Vitals:
        answer = await desktop.units()
        windows = await desktop.windows()
        return Vitals(
            boot_id=str(answer["boot_id"]),
            services={
                str(unit["name"]): (int(unit["restarts"]), int(unit["pid"])) for unit in answer["units"]
            },
            windows={
                str(window["kind"]): int(window["id"])
                for window in windows
                if window["kind"] in ("terminal", "browser")
            },
        )

    def differences(self, later: Vitals) -> list[str]:
        """What crashed or restarted between two moments, in words."""
        found = [] if self.boot_id == later.boot_id else ["the desktop booted again"]
        for name, (restarts, pid) in self.services.items():
            restarts_later, pid_later = later.services.get(name, (restarts, 0))
            if restarts_later != restarts:
                found.append(f"{name} was restarted {restarts_later - restarts} time(s)")
            elif pid_later != pid:
                found.append(f"{name} has another process now")
        found += [
            f"the {kind}'s window is gone or another one"
            for kind, window in self.windows.items()
            if later.windows.get(kind) != window
        ]
        return found


@dataclass
class Inspection:
    """`viewer` stays connected from its check to the end; `doing` tells people what takes long."""

    desktop: Desktop
    url: str
    soak_s: float
    doing: Callable[[str], None]
    stack: AsyncExitStack
    began: float = field(default_factory=time.monotonic)
    viewer: Viewer | None = None
    vitals: Vitals | None = None
    online: bool = False  # set by the check `internet`
    dropped: str = ""  # why the viewer's connection failed in the soak

    @property
    def watched_s(self) -> float:
        return time.monotonic() - self.began

    def seeing(self) -> Viewer:
        """The viewer; UnmetError if its check failed."""
        if self.viewer is None:
            raise UnmetError("not tried: there is no VNC connection to see by")
        return self.viewer

    async def window(self, kind: str) -> tuple[dict[str, Any], Area]:
        """The newest mapped window of a kind and what of it is on the screen. UnmetError if none."""
        windows = await self.desktop.windows()
        screen = self.seeing().screen
        for window in reversed(windows):
            if window["kind"] == kind and window["mapped"]:
                whole = Area(*(int(window[key]) for key in ("x", "y", "width", "height")))
                return window, screen.intersection(whole)
        kinds = ", ".join(sorted(str(window["kind"]) for window in windows if window["mapped"])) or "nothing"
        raise UnmetError(f"no {kind} window is mapped; on the screen: {kinds}")

    async def run(self, *argv: str, timeout_s: float) -> CommandResult:
        """A command in a login shell's environment, as in the terminal."""
        script = 'exec "$@"'
        return await self.desktop.exec(["bash", "-lc", script, "verify", *argv], timeout_s=timeout_s)

    async def judge(self, name: str, check: Check) -> CheckResult:
        """Run one check: an error of ours is what it saw."""
        began = time.monotonic()
        try:
            detail, passed = await check(self), True
        except UnmetError as unmet:
            detail, passed = str(unmet), False
        except OrielError as error:
            detail, passed = error.message + (f" ({error.hint})" if error.hint else ""), False
        return CheckResult(name, passed, time.monotonic() - began, detail)


# Returns what it saw; raises UnmetError or OrielError otherwise.
Check = Callable[[Inspection], Awaitable[str]]
Checks = Sequence[tuple[str, Check]]
