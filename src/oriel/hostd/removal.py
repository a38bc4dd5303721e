"""Taking away what is left of a desktop without the help of its keeper, and finding such leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from oriel.host import slots
from oriel.host.layout import Home, netns_path
from oriel.host.mounts import mounts_below, unmount_below
from oriel.host.namespaces import list_netns
from oriel.host.occupants import end_occupants
from oriel.host.records import read_json
from oriel.keeper.assembly import Plan, dismantle
from oriel.keeper.journal import Journal
from oriel.keeper.server import DriverOf, lock_directory
from oriel.keeper.undo import UndoStack
from oriel.model.errors import LaunchError, OrielError
from oriel.model.spec import DESKTOP_ID, DesktopSpec
from oriel.network.link import remove_link

__all__ = [
    "Sweep",
    "clear_desktop",
    "desktop_ids",
    "end_desktop",
    "erase_directory",
    "sweep",
    "sweep_regularly",
]

SWEEP_EVERY_S, GRACE_S = 120.0, 600.0
_LOG = logging.getLogger(__name__)


async def clear_desktop(home: Home, desktop_id: str, driver_of: DriverOf, group: asyncio.TaskGroup) -> None:
    """Take everything of a desktop away whose keeper has ended: machine, mounts, namespace, files, slot.

    Works from the journal where there is one, and from what the kernel shows in any case. Raises
    LaunchError naming what could not be taken away; the directory is still there then. Idempotent.
    """
    await end_desktop(home, desktop_id, driver_of, group)
    await erase_directory(home, desktop_id)


async def end_desktop(home: Home, desktop_id: str, driver_of: DriverOf, group: asyncio.TaskGroup) -> None:
    """End what runs of a desktop whose keeper has ended; its files stay. Errors as `clear_desktop`."""
    spec = _spec_of(home, desktop_id)
    if spec is not None and home.desktop(desktop_id).root.is_dir():
        await _dismantle(home, spec, driver_of, group)
    await end_occupants([netns_path(desktop_id), netns_path(desktop_id, guest=True)])
    await remove_link(desktop_id)


async def erase_directory(home: Home, desktop_id: str) -> None:
    """Remove a desktop's directory and give its slot back. LaunchError while something is mounted there."""
    root = home.desktop(desktop_id).root
    if root.is_dir():
        await asyncio.to_thread(unmount_below, root)
        if left := mounts_below(root):
            raise LaunchError(
                f"still mounted below {root}: {', '.join(map(str, left))}",
                hint="unmount them, then try again",
            )
        await asyncio.to_thread(shutil.rmtree, root)
    slots.release(home.root, desktop_id)


@dataclass
class Sweep:
    """What a sweep did: names of what it removed, and what it could not or would not."""

    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def sweep(
    home: Home, in_creation: Callable[[str], bool], driver_of: DriverOf, group: asyncio.TaskGroup
) -> Sweep:
    """Remove leftovers that provably belong to no desktop of this home.

    Those are: a directory without a readable spec, and the slot and namespaces of a desktop of this
    home that has no directory. A namespace that no slot vouches for is only reported.
    """
    found = Sweep()
    orphans = {name for name in desktop_ids(home) if _spec_of(home, name) is None}
    held = slots.holders()
    ours = {holder.desktop for holder in held.values() if holder.home == home.root}
    orphans |= {name for name in ours if not home.desktop(name).root.is_dir()}
    for desktop_id in sorted(name for name in orphans if not in_creation(name)):
        try:
            await clear_desktop(home, desktop_id, driver_of, group)
            found.removed.append(desktop_id)
        except OrielError as error:
            found.problems.append(f"{desktop_id}: {error.message}")
    known = {holder.desktop for holder in held.values()} | set(desktop_ids(home))
    for name in list_netns("oriel-d-"):
        desktop_id = name.removeprefix("oriel-").removesuffix("-guest")
        if desktop_id not in known:
            found.problems.append(
                f"the namespace {name} belongs to no desktop that holds a slot; it was left alone"
            )
    return found


async def sweep_regularly(
    home: Home,
    in_creation: Callable[[str], bool],
    driver_of: DriverOf,
    group: asyncio.TaskGroup,
    *,
    every_s: float = SWEEP_EVERY_S,
    grace_s: float = GRACE_S,
) -> None:
    """For ever: what a sweep finds, once it has been found for `grace_s`. What is just made is no orphan."""
    since: dict[str, float] = {}
    told: list[str] = []
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(every_s)
        seen: dict[str, float] = {}

        def spared(desktop_id: str, seen: dict[str, float] = seen, since: dict[str, float] = since) -> bool:
            seen[desktop_id] = since.get(desktop_id, clock())
            return in_creation(desktop_id) or clock() - seen[desktop_id] < grace_s

        try:
            swept = await sweep(home, spared, driver_of, group)
        except (OrielError, OSError):
            _LOG.exception("the host could not be swept")
            continue
        since = seen
        if swept.removed or swept.problems != told:
            _LOG.warning("swept", extra={"event": {"removed": swept.removed, "problems": swept.problems}})
        told = swept.problems


async def _dismantle(home: Home, spec: DesktopSpec, driver_of: DriverOf, group: asyncio.TaskGroup) -> None:
    paths = home.desktop(spec.id)
    with lock_directory(paths.root), contextlib.closing(Journal(paths.journal, spec.id)) as journal:
        slot = slots.claim(home.root, spec.id, preferred=journal.ledger.slot)
        plan = Plan(home, spec, slot, driver_of(spec.runtime, home), journal, group)
        undo = UndoStack()
        await dismantle(plan, (journal.ledger.machine or {}).get("record"), undo)
        problems = await undo.unwind()
    if problems:
        raise LaunchError(
            f"not everything of {spec.id} could be taken away: "
            + "; ".join(f"{item.step}: {item.detail}" for item in problems),
            hint="try again; hostd.log has the details",
            code="unclean",
        )


def _spec_of(home: Home, desktop_id: str) -> DesktopSpec | None:
    try:
        return DesktopSpec.from_json(read_json(home.desktop(desktop_id).spec) or {})
    except OrielError:
        return None


def desktop_ids(home: Home) -> list[str]:
    """The desktops that have a directory in this home."""
    if not home.desktops.is_dir():
        return []
    return sorted(entry.name for entry in home.desktops.iterdir() if DESKTOP_ID.match(entry.name))
