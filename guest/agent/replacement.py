"""Replacing a file whole: at every moment it is the old one or the new one, also after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

__all__ = ["commit_file", "replace_file", "temporary_beside"]


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that nobody has."""
    return path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}.part")


def commit_file(fd: int, temporary: Path, path: Path) -> None:
    """Sync the open `temporary`, give it `path`'s name, and sync the directory. OSError changes nothing."""
    os.fsync(fd)
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` as `path`, with its old mode or 0644. On OSError the old file stands."""
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
            file.flush()
            commit_file(file.fileno(), temporary, path)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        if error.errno != errno.EBUSY:
            raise
        # A container's manager mounts some files (/etc/machine-id): those can only be written in place.
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
            os.fsync(file.fileno())
