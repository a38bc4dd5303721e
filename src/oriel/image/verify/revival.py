"""Every program that systemd watches is killed with KILL, and must come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from oriel.image.verify.inside import Facts, Inside, Verdict
from oriel.model.errors import OrielError

__all__ = ["revived"]

REVIVAL_S = 120  # RestartSec=3, and an emulated machine may take long to start Chrome
LOOK_S = 30  # at all units once
AGENT = "oriel-agent.service"
SCREEN = "xvfb.service"


async def revived(inside: Inside, facts: Facts) -> AsyncIterator[Verdict]:
    """One by one, also those that wait behind a socket; then the screen, which takes along all on it; the
    agent last, for it is what carries us."""
    for unit in facts.services:
        if unit not in (SCREEN, AGENT):
            yield await _killed(inside, unit, (unit,))
    for unit in facts.called:
        await inside.sh(f"systemctl start {unit}", timeout_s=REVIVAL_S)
        yield await _killed(inside, unit, (unit,))
    on_screen = [unit for unit in facts.services if unit != AGENT]
    yield await _killed(inside, SCREEN, on_screen)
    yield await _in_order(inside, [unit for unit in on_screen if unit != SCREEN])
    yield await _killed(inside, AGENT, (AGENT,))


async def _killed(inside: Inside, unit: str, watched: Sequence[str]) -> Verdict:
    """KILL the unit's main process, and see that others take the place of it and of all `watched`."""
    began = time.monotonic()
    name = f"revives_{unit.removesuffix('.service').replace('@', '_').replace('-', '_')}"
    try:
        # What was killed before may have taken others along, which are on their way back.
        before = await _until(inside, dict.fromkeys(watched, 0), deadline=began + REVIVAL_S)
        if gone := [item for item in watched if not before.get(item)]:
            return Verdict(name, False, time.monotonic() - began, f"not running: {', '.join(gone)}")
        try:
            await inside.sh(f"kill -9 {before[unit]}", timeout_s=10)
        except OrielError:
            if unit != AGENT:  # the agent cannot answer for its own end
                raise
        after = await _until(inside, before, deadline=time.monotonic() + REVIVAL_S)
    except OrielError as error:
        return Verdict(name, False, time.monotonic() - began, error.message)
    old = [item for item in watched if after.get(item, 0) in (0, before[item])]
    detail = f"not back within {REVIVAL_S} s: {', '.join(old)}" if old else f"{before} -> {after}"
    return Verdict(name, not old, time.monotonic() - began, detail)


async def _in_order(inside: Inside, units: Sequence[str]) -> Verdict:
    """What stands on the screen was started after the screen took connections."""
    began = time.monotonic()
    _, told = await inside.sh(
        f"systemctl show -p ActiveEnterTimestampMonotonic --value {SCREEN}; "
        f"systemctl show -p ExecMainStartTimestampMonotonic --value {' '.join(units)} | grep ."
    )
    screen, *others = (int(line) for line in told.split())
    early = [unit for unit, started in zip(units, others, strict=True) if started < screen]
    detail = f"started before the screen: {', '.join(early)}" if early else f"{len(others)} after the screen"
    return Verdict("screen_comes_first", not early and bool(others), time.monotonic() - began, detail)


async def _until(inside: Inside, before: Mapping[str, int], *, deadline: float) -> dict[str, int]:
    """The main processes once each unit has one that it had not `before`; at the deadline those there are."""
    after: dict[str, int] = {}
    while time.monotonic() < deadline:
        try:
            after = await _main_pids(inside, list(before))
        except OrielError:
            after = {}
        if all(after.get(unit, 0) not in (0, pid) for unit, pid in before.items()):
            break
        await asyncio.sleep(0.5)  # between probes: systemd tells no one outside of the guest
    return after


async def _main_pids(inside: Inside, units: Sequence[str]) -> dict[str, int]:
    """The main process of each unit, 0 for one that is not active."""
    _, output = await inside.sh(
        f"systemctl show -p Id,ActiveState,MainPID {' '.join(units)}", timeout_s=LOOK_S
    )
    told = [dict(line.split("=", 1) for line in block.splitlines()) for block in output.strip().split("\n\n")]
    found = {unit["Id"]: int(unit["MainPID"]) for unit in told if unit.get("ActiveState") == "active"}
    return {unit: found.get(unit, 0) for unit in units}
