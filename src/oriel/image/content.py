"""Laying files into an image. Git keeps only whether a file is a program; the rest is decided here."""

from __future__ import annotations

import shutil
from pathlib import Path

from oriel.image.plan import tree

__all__ = ["lay"]

PRIVATE = ("etc/sudoers.d/",)  # sudo(8) refuses files that others may write or that are not 0440


def lay(source: Path, target: Path) -> None:
    """Copy a file, or all that is below a directory, to `target`, owned by root, whatever our umask is.

    Directories that are there keep their mode; files and links that are there are replaced.
    """
    for path, name in tree(source):
        place = target / name if name else target
        if path.is_dir() and not path.is_symlink():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if path.is_symlink():
            place.symlink_to(path.readlink())
            continue
        shutil.copyfile(path, place)
        place.chmod(_mode(path, name))


def _mode(path: Path, name: str) -> int:
    if name.startswith(PRIVATE):
        return 0o440
    return 0o755 if path.stat().st_mode & 0o100 else 0o644
