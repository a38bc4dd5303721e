"""What may run out under any of our processes, and what to say then."""

from __future__ import annotations

import errno

from oriel.model.errors import NoSpaceError, OrielError, UnavailableError

__all__ = ["exhausted"]


def exhausted(error: BaseException) -> OrielError | None:
    """What to say of an error that nobody foresaw, if something has run out; None if that is not it."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return UnavailableError(
            "too many files and connections are open",
            hint="close some viewers; the operator raises LimitNOFILE of the service",
            code="no_descriptors",
        )
    if number in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(
            "the host's disk is full", hint="free space on the file system of the home directory"
        )
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return UnavailableError(
            "the host has no memory left for this",
            hint="stop or pause desktops, then try again",
            code="no_memory",
        )
    return None
