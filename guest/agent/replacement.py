"""Replacing files whole: at every moment each is the old one or the new one, also after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = ["commit_file", "replace_files", "stem_of", "temporary_beside"]

STEM_BYTES = 150  # of NAME_MAX, 255: the rest is ours


def stem_of(name: str) -> str:
    """As much of a name as leaves room for more."""
    return os.fsencode(name)[:STEM_BYTES].decode("utf-8", "ignore")


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that nobody has."""
    return path.with_name(f".{stem_of(path.name)}.{os.urandom(6).hex()}.part")


def commit_file(fd: int, temporary: Path, path: Path) -> None:
    """Sync the open `temporary`, give it `path`'s name, and sync the directory. OSError changes nothing."""
    os.fsync(fd)
    temporary.rename(path)
    _sync(path.parent)


def replace_files(wanted: Mapping[Path, bytes]) -> None:
    """Write each file, with its old mode or 0644. On OSError those not yet replaced stand.

    All of them are synced at once in the end: a file that takes another's name is written before that name
    is (ext4(5), auto_da_alloc), and each flush of an emulated disk is felt.
    """
    for path, data in wanted.items():
        _replace(path, data)
    for directory in {path.parent for path in wanted}:
        _sync(directory)


def _replace(path: Path, data: bytes) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mode = 0o644
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        if error.errno != errno.EBUSY:
            raise
        # A container's manager mounts some files (/etc/machine-id): those can only be written in place.
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
