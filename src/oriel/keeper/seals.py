"""What shows that the files of a moment are the ones that were written.

What is small is read again whenever the moment is used. The memory and the disk of a template are too large
for that: when they were last written to is compared each time, and hostd reads them once in its life.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from oriel.machine.driver import Moment
from oriel.model.errors import HostError

__all__ = ["check_seal", "check_template", "seal_of", "stamp_of"]

CHUNK = 1 << 20
SMALL = ("pages", "devices")
LARGE = ("memory", "disk.img")


def seal_of(moment: Moment, *, template: bool) -> dict[str, str]:
    """By name of file, what `check_seal` and `check_template` compare; to be kept in the manifest."""
    # Not every runtime has a list of pages.
    seal = {name: _digest(moment.directory / name) for name in SMALL if (moment.directory / name).exists()}
    if template:
        for name in LARGE:
            seal[name] = _digest_of_sparse(moment.directory / name)
            seal[f"{name} written"] = _written(moment.directory / name)
    if moment.base.exists():
        seal["base written"] = _written(moment.base)
    return seal


def check_seal(moment: Moment, seal: dict[str, str]) -> None:
    """HostError if a file was changed since it was sealed, as far as can be told at once."""
    with _readable():
        for name in SMALL:
            file = moment.directory / name
            if name in seal and _digest(file) != seal[name]:
                raise HostError(f"{file} is damaged")
        for name in (*LARGE, "base"):
            written, file = seal.get(f"{name} written"), moment.directory / name
            if written is not None and _written(file) != written:
                raise HostError(f"{file} was changed since it was made")


def check_template(moment: Moment, seal: dict[str, str]) -> None:
    """HostError if anything in a template's large files is not as it was; reads all of them."""
    with _readable():
        for name in LARGE:
            if name in seal and _digest_of_sparse(moment.directory / name) != seal[name]:
                raise HostError(f"{moment.directory / name} is damaged")


def stamp_of(moment: Moment) -> tuple[int, ...]:
    """Another one once a large file was written to or replaced; HostError if one is missing."""
    with _readable():
        found = [(moment.directory / name).stat() for name in LARGE]
    return tuple(number for file in found for number in (file.st_ino, file.st_size, file.st_mtime_ns))


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """A file that is missing, or that its disk does not give back, is one more that is not as it was."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{error.filename or 'a file'} cannot be read: {error.strerror}") from error


def _written(file: Path) -> str:
    """To the second: a copy of the home keeps no more than that in some archives."""
    return str(int(file.stat().st_mtime))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest_of_sparse(file: Path) -> str:
    """Of what is not zero and where it is; holes are not read, and need not be holes in a copy."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        fd = opened.fileno()
        size = os.fstat(fd).st_size
        digest.update(str(size).encode())
        for offset in _chunks_with_data(fd, size):
            data = os.pread(fd, CHUNK, offset)
            if data.strip(b"\0"):
                digest.update(f" {offset} ".encode())
                digest.update(data)
    return digest.hexdigest()


def _chunks_with_data(fd: int, size: int) -> Iterator[int]:
    """Where the pieces of CHUNK bytes begin in which a file may have data (lseek(2))."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA) // CHUNK * CHUNK
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        yield offset
        offset += CHUNK
