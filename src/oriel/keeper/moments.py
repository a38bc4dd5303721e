"""Moments on disk: written whole or not at all, and believed only if everything about them fits.

A moment is written into `NAME.partial`; its manifest comes last, then the directory gets its name. So a
directory without `.partial` is whole, whatever killed whom.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from oriel.host.disk import copy_disk
from oriel.host.layout import DesktopPaths
from oriel.host.records import read_json
from oriel.host.template import TemplateKey
from oriel.host.threads import in_thread
from oriel.keeper.seals import check_seal, check_template, seal_of
from oriel.machine.driver import Moment, Saving
from oriel.model.errors import HostError, LaunchError, NoSpaceError
from oriel.model.events import utc_now

__all__ = [
    "Kept",
    "copy_moment",
    "discard_partial",
    "erase",
    "known",
    "read_moment",
    "read_template",
    "write_moment",
]

VERSION = 1
DOOMED = ".doomed"
RESERVE_BYTES = 1 << 30  # of the host's disk, which moments never take


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a manifest says. `bytes_own`: on disk, without what is shared with the template."""

    key: dict[str, Any]
    name: str  # of the template it fits: the hash of `key`
    at: str
    bytes_own: int
    seconds: float  # for which the guest stood still
    seal: dict[str, str] = field(default_factory=dict)
    version: int = VERSION


def partial_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.partial")


async def write_moment(
    directory: Path,
    machine: Saving,
    key: TemplateKey,
    *,
    disk: Path,
    copy: bool,
    template: bool = False,
    then: Callable[[], Awaitable[None]] | None = None,
) -> Kept:
    """Halt the machine and write its moment to `directory`, which must not exist.

    `copy`: with a copy of `disk`; otherwise `disk` is only synced, and belongs to the moment as it is.
    `template`: many begin there, so that all of it is sealed against damage.
    `then`, for a machine that is to go on, is called as soon as it may; else it stays halted.
    On any error nothing is left, and the machine is as `then` would leave it, or halted.
    """
    _check_space(directory.parent, disk if copy else None)
    partial = partial_of(directory)
    await in_thread(lambda: _empty(partial))
    moment, began = Moment(partial), time.monotonic()
    try:
        await machine.halt()
        try:
            await machine.save(moment)
            if copy:
                await copy_disk(disk, moment.disk)
        finally:
            if then is not None:
                await then()
        stood = round(time.monotonic() - began, 3)
        await in_thread(lambda: _sync(moment.disk if copy else disk))
        return await in_thread(lambda: _finish(moment, directory, key, stood, template=template))
    except OSError as error:
        await in_thread(lambda: erase(partial))
        _check_space(directory.parent, None)
        raise LaunchError(f"{directory.name} could not be written: {error.strerror}") from error
    except BaseException:
        await in_thread(lambda: erase(partial))
        raise


def _finish(moment: Moment, directory: Path, key: TemplateKey, stood: float, *, template: bool) -> Kept:
    """The manifest once all else is on the disk, then the name."""
    own = sum(
        file.stat().st_blocks * 512
        for file in (moment.memory, moment.pages, moment.devices, moment.disk)
        if file.exists()
    )
    kept = Kept(
        key=key.to_json(), name=key.name, at=utc_now(), bytes_own=own, seconds=stood,
        seal=seal_of(moment, template=template),
    )  # fmt: skip
    with moment.manifest.open("w") as file:
        json.dump(asdict(kept), file)
        file.flush()
        os.fsync(file.fileno())
    _sync(moment.directory)
    moment.directory.rename(directory)
    _sync(directory.parent)
    return kept


def read_moment(directory: Path, key: TemplateKey) -> Moment:
    """The moment in `directory`; HostError saying why it cannot be gone on from."""
    kept = known(directory)
    if kept is None:
        raise HostError(f"{directory} is not a whole moment")
    if kept.version != VERSION or kept.name != key.name:
        changed = [name for name, value in key.to_json().items() if kept.key.get(name) != value]
        raise HostError(f"it was saved under another {' and '.join(changed) or 'version'}")
    moment = Moment(directory)
    expected = key.memory_mib << 20
    for file in (moment.memory, moment.base):
        if file.exists() and file.stat().st_size != expected:
            raise HostError(f"{file} is not of the memory's size")
    # Without a base `memory` is all there is: a driver may have no list of its pages then.
    for file in (moment.memory, moment.devices, *((moment.pages,) if moment.base.exists() else ())):
        if not file.exists():
            raise HostError(f"{file} is missing")
    check_seal(moment, kept.seal)
    return moment


def read_template(directory: Path, key: TemplateKey) -> Moment:
    """As `read_moment`, after all of it was read and found as it was written."""
    moment = read_moment(directory, key)
    kept = known(directory)
    check_template(moment, kept.seal if kept else {})
    return moment


def known(directory: Path) -> Kept | None:
    """What the manifest says; None if there is none, or it is damaged."""
    try:
        return Kept(**(read_json(Moment(directory).manifest) or {}))
    except TypeError:
        return None


async def copy_moment(source: Path, directory: Path, *, disk: Path, copy: Path | None) -> None:
    """`source` again as `directory`: its files linked, and its `disk` copied to `copy` (None: beside them).

    What was in `directory` goes first; then `copy` appears, whole, and then `directory`.
    """
    partial = partial_of(directory)
    _check_space(directory.parent, disk)
    await in_thread(lambda: _empty(partial))
    target = copy or Moment(partial).disk
    try:
        await in_thread(lambda: _link(Moment(source), Moment(partial)))
        await in_thread(lambda: erase(directory))
        await copy_disk(disk, target)
        await in_thread(lambda: _sync(target))
        partial.rename(directory)
    except BaseException:
        await in_thread(lambda: erase(partial))
        raise


def _empty(directory: Path) -> None:
    erase(directory)
    directory.mkdir(parents=True, mode=0o700)


def _link(origin: Moment, copy: Moment) -> None:
    for file in (origin.memory, origin.pages, origin.devices, origin.base, origin.manifest):
        if file.exists():
            os.link(file, copy.directory / file.name)
    _sync(copy.directory)


async def discard_partial(paths: DesktopPaths) -> None:
    """What a keeper that was killed had half written, or half erased."""

    def discard() -> None:
        for place in (paths.root, paths.snapshots):
            for entry in [*place.iterdir()] if place.is_dir() else ():
                if entry.name.endswith((".partial", DOOMED)):
                    shutil.rmtree(entry, ignore_errors=True)

    await in_thread(discard)


def erase(directory: Path) -> None:
    """Take a moment away; what it shares stays with the others. Idempotent, and never seen half done."""
    if directory.exists():
        doomed = directory.with_name(f"{directory.name}{DOOMED}")
        shutil.rmtree(doomed, ignore_errors=True)
        directory.rename(doomed)
        shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_space(directory: Path, disk: Path | None) -> None:
    while not directory.exists():
        directory = directory.parent
    host = os.statvfs(directory)
    free = host.f_bavail * host.f_frsize
    needed = RESERVE_BYTES + (disk.stat().st_blocks * 512 if disk else 0)
    if free < needed:
        raise NoSpaceError(
            f"{directory} has {free / 2**30:.1f} GiB free; keeping this may need {needed / 2**30:.1f} GiB",
            hint="delete snapshots, desktops or images you do not need",
        )
