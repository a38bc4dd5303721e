"""What a desktop's journal, its keeper and hostd say of it, for whoever has just killed one of them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from oriel.host.process import ProcessId
from oriel.model import wire
from oriel.model.errors import OrielError
from oriel.model.events import Event

__all__ = ["AT_REST", "at_rest", "told_truly", "until"]

AT_REST = ("running", "paused", "stopped", "failed", "gone")
REST_DEADLINE_S = 60.0


async def until(keeper: Any, point: str, since: int) -> Event | None:
    """The event, read from the journal's file: also of a keeper that is being killed. None if it has gone."""
    while keeper.paths.journal.exists():
        events: list[Event] = keeper.events()
        for event in events:
            if event.seq > since and event.kind == point:
                return event
            if (
                event.seq > since
                and event.kind in ("desktop.gone", "state.stopped", "state.failed")
                and event.kind != point
            ):
                return None
        await asyncio.sleep(0.002)
    return None


async def at_rest(host: Any, desktop_id: str) -> str:
    """The state that its keeper and hostd agree on, once it is one to rest in."""
    last = "unknown"
    async with asyncio.timeout(REST_DEADLINE_S):
        while True:
            with contextlib.suppress(OrielError):
                listed = {one["id"]: one for one in (await host.ask("list"))["desktops"]}
                one = listed.get(desktop_id)
                if one is None:
                    return "gone"
                last = one["state"]
                if one["alive"] and last in AT_REST:
                    socket = wire.unix(host.home.desktop(desktop_id).keeper_socket)
                    told = await wire.call(socket, "inspect", {}, deadline_s=10)
                    if told["state"] == last and _settled(desktop_id, told):
                        return str(last)
            await asyncio.sleep(0.05)


def _settled(desktop_id: str, told: dict[str, Any]) -> bool:
    """Whether what was killed has been noticed: one that runs has a living machine, and the clean-up behind a
    `failed`, which is told at once, is done. The namespace goes last."""
    if told["state"] == "running":
        return ProcessId.of(told["machine"]["pid"]) is not None
    return not Path(f"/run/netns/oriel-{desktop_id}").exists()


def told_truly(state: str, found: list[str]) -> None:
    """A desktop that runs has its namespaces; one that does not has nothing but its keeper and its slot."""
    kinds = {line.partition(":")[0] for line in found}
    if state == "running":
        assert "namespaces" in kinds, found
    elif state == "gone":
        assert not found, found
    else:
        assert kinds <= {"processes", "slots"}, found
        assert not [line for line in found if "oriel.egress" in line], found
