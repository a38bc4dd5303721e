"""Making a desktop's directory and its keeper, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from oriel.host.accounts import Account
from oriel.host.layout import Home
from oriel.host.records import write_json
from oriel.hostd.keepers import Keepers
from oriel.hostd.removal import erase_directory
from oriel.keeper.moments import copy_moment, known
from oriel.machine.driver import Moment
from oriel.model.errors import NoSpaceError, NotFoundError, StateError
from oriel.model.spec import DesktopSpec

__all__ = ["create"]

LEAST_FREE_MIB = 512  # on the home's file system, or no desktop is made


async def create(
    home: Home,
    spec: DesktopSpec,
    account: Account,
    keepers: Keepers,
    *,
    origin: tuple[str, str] | None = None,
) -> None:
    """Returns once the new keeper answers; its machine is not started.

    `origin`: the desktop and the snapshot of it that the new one begins as, disk and memory.

    Raises NotFoundError (no such image), StateError (the id is taken), NoSpaceError, or the keeper's
    own error; nothing is left of the desktop then.
    """
    if not home.image(spec.image).is_dir():
        raise NotFoundError(
            f"there is no image {spec.image}", hint="`oriel image list` shows those there are"
        )
    free = shutil.disk_usage(home.root).free >> 20
    if free < LEAST_FREE_MIB:
        raise NoSpaceError(
            f"only {free} MiB are free in {home.root}; a new desktop needs {LEAST_FREE_MIB}",
            hint="delete desktops or images, or enlarge the file system",
        )
    if origin is not None:
        _check_origin(home, *origin)
    _make_directory(home, spec, account)
    try:
        if origin is not None:
            await _begin_as(home, spec, home.desktop(origin[0]).snapshot(origin[1]))
        # Last: without its specification a directory is a leftover, which the next hostd sweeps away. A fork
        # that is half made must not become a desktop that begins afresh.
        write_json(home.desktop(spec.id).spec, spec.to_json(), mode=0o640, gid=account.gid)
        await keepers.launch(spec.id)
    except BaseException:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(erase_directory(home, spec.id))
        raise


def _check_origin(home: Home, desktop_id: str, name: str) -> None:
    if known(home.desktop(desktop_id).snapshot(name)) is None:
        raise NotFoundError(f"{desktop_id} has no snapshot {name}", hint="`oriel snapshot` takes one")


async def _begin_as(home: Home, spec: DesktopSpec, snapshot: Path) -> None:
    paths = home.desktop(spec.id)
    await copy_moment(snapshot, paths.paused, disk=Moment(snapshot).disk, copy=paths.disk_image)


def _make_directory(home: Home, spec: DesktopSpec, account: Account) -> None:
    paths = home.desktop(spec.id)
    _make(home.desktops, 0o755, account)
    try:
        _make(paths.root, 0o750, account, exist_ok=False)
    except FileExistsError as error:
        raise StateError(f"there is already a desktop {spec.id}", hint="choose another id") from error


def _make(directory: Path, mode: int, account: Account, *, exist_ok: bool = True) -> None:
    directory.mkdir(parents=True, exist_ok=exist_ok)
    os.chown(directory, 0, account.gid)
    directory.chmod(mode)
