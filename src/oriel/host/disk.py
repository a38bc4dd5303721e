"""A desktop's own disk: an independent copy of its image's small one, grown to its quota. Sparse."""

from __future__ import annotations

import os
from pathlib import Path

from oriel.host import process
from oriel.model.errors import Fault, HostError, InvalidError, LaunchError, NoSpaceError

__all__ = ["RESERVE_BYTES", "copy_disk", "make_disk"]

RESERVE_BYTES = 2 << 30  # what we never take from the host's file system
DEADLINE_S = 120
GIB = 1 << 30


async def make_disk(template: Path, disk: Path, *, size_gib: int) -> None:
    """Make `disk`, an ext4 file system of `size_gib`, if there is none. It depends on nothing afterwards.

    Appears whole or not at all, also after a crash. Raises NoSpaceError if the host is short of disk,
    HostError if the template is missing, InvalidError if it is larger than `size_gib` (the layout `copy`),
    LaunchError if copying or growing fails; then there is no `disk`.
    """
    if _exists(disk):
        return
    if not _exists(template):
        raise HostError(f"the image's disk {template} is missing", hint="build or import the image again")
    _check_space(template, disk.parent)
    if (size := _size(template)) > size_gib * GIB:
        problem = f"must be at least {-(-size // GIB)}: the image is that large"
        raise InvalidError.of([Fault("disk_gib", problem)])
    torn = disk.with_name(f".{disk.name}.new")
    torn.unlink(missing_ok=True)
    try:
        await process.run(
            ["cp", "--reflink=auto", "--sparse=always", "--", template, torn], deadline_s=DEADLINE_S
        )
        torn.chmod(0o600)
        if size_gib * GIB > size:
            os.truncate(torn, size_gib * GIB)
            await _grow(torn)
        torn.rename(disk)
    except (LaunchError, OSError) as error:
        _check_space(template, disk.parent)  # a full disk is the likeliest reason, and has its own error
        if isinstance(error, OSError):
            raise LaunchError(f"the disk {disk} could not be made: {error.strerror}") from error
        raise
    finally:
        torn.unlink(missing_ok=True)


async def copy_disk(source: Path, target: Path) -> None:
    """An independent copy of a disk that nobody writes to meanwhile; its holes stay holes.

    Appears whole or not at all, in the place of what may be there. Raises NoSpaceError, LaunchError.
    """
    torn = target.with_name(f".{target.name}.new")
    torn.unlink(missing_ok=True)
    try:
        # cp looks for holes by SEEK_HOLE, and lets the kernel copy between (coreutils 9).
        await process.run(
            ["cp", "--reflink=auto", "--sparse=auto", "--", source, torn], deadline_s=DEADLINE_S
        )
        torn.chmod(0o600)
        torn.rename(target)
    except LaunchError:
        _check_space(source, target.parent)
        raise
    finally:
        torn.unlink(missing_ok=True)


async def _grow(disk: Path) -> None:
    """Grow the file system to its file. resize2fs asks for a check first if it was ever mounted."""
    grown = await process.run(["resize2fs", disk], check=False, deadline_s=DEADLINE_S)
    if grown.code != 0:
        # e2fsck: 0 clean, 1 corrected (e2fsck(8))
        checked = await process.run(["e2fsck", "-f", "-p", disk], check=False, deadline_s=DEADLINE_S)
        if checked.code > 1:
            said = (checked.stdout + checked.stderr).decode(errors="replace").strip()
            raise LaunchError(f"the file system in {disk} is damaged: {said}")
        await process.run(["resize2fs", disk], deadline_s=DEADLINE_S)


def _exists(file: Path) -> bool:
    return file.exists()


def _size(file: Path) -> int:
    return file.stat().st_size


def _check_space(template: Path, directory: Path) -> None:
    needed = template.stat().st_blocks * 512
    host = os.statvfs(directory)
    free = host.f_bavail * host.f_frsize
    if free < needed + RESERVE_BYTES:
        raise NoSpaceError(
            f"{directory} has {free / GIB:.1f} GiB free; a new desktop needs {needed / GIB:.1f} GiB"
            f" beside a reserve of {RESERVE_BYTES / GIB:.0f} GiB",
            hint="delete desktops or images you do not need, or move the home to a larger disk",
        )
