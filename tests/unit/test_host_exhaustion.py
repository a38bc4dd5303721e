"""What has run out is told by its name, and what has not stays unforeseen."""

from __future__ import annotations

import errno

import pytest

from oriel.controller.problems import neutral, status_of
from oriel.host.exhaustion import exhausted


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "no_descriptors", 503),
        (OSError(errno.ENFILE, "Too many open files in system"), "no_descriptors", 503),
        (OSError(errno.ENOSPC, "No space left on device"), "no_space", 507),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no_space", 507),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no_memory", 503),
        (MemoryError(), "no_memory", 503),
        (OSError(errno.EIO, "Input/output error"), "internal", 500),
        (ValueError("x"), "internal", 500),
    ],
    ids=repr,
)
def test_what_ran_out_is_told(error: Exception, code: str, status: int) -> None:
    told = neutral(error)
    assert (told.code, status_of(told)) == (code, status)
    assert told.hint
    assert (exhausted(error) is None) is (code == "internal")
