"""What the nested run does with an emulated host that falls silent, lingers, or ends too soon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from tests.nested.emulated import UnfinishedError, follow

LONG_S = 600


@contextmanager
def console(said: bytes, *, ended: bool) -> Iterator[IO[bytes]]:
    reading, writing = os.pipe()
    os.write(writing, said)
    if ended:
        os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            yield stream
    finally:
        if not ended:
            os.close(writing)


def test_the_job_s_exit_status_is_told() -> None:
    with console(b"booting\r\nnested: exit 3\r\n", ended=True) as stream:
        assert follow(stream, silence_s=LONG_S, deadline_s=LONG_S) == 3


def test_a_host_that_falls_silent_is_given_up_with_its_last_lines() -> None:
    lines = b"\n".join(b"line %d" % n for n in range(40)) + b"\ntorn"
    with console(lines, ended=False) as stream, pytest.raises(UnfinishedError) as told:
        follow(stream, silence_s=0.01, deadline_s=LONG_S)
    assert str(told.value).splitlines()[0] == (
        "the emulated host was silent for 0.01 s; its console's last lines:"
    )
    assert "line 39\n  torn" in str(told.value)
    assert "line 3\n" not in str(told.value)


def test_one_that_talks_for_ever_has_a_deadline() -> None:
    told = pytest.raises(UnfinishedError, match=r"not done in 0\.01 s")
    with console(b"again\n", ended=False) as stream, told:
        follow(stream, silence_s=LONG_S, deadline_s=0.01)


def test_one_that_ends_without_a_word_has_not_done_its_job() -> None:
    told = pytest.raises(UnfinishedError, match=r"ended before its job did(?s:.*)Kernel panic")
    with console(b"Kernel panic\n", ended=True) as stream, told:
        follow(stream, silence_s=LONG_S, deadline_s=LONG_S)


def test_one_whose_job_is_done_and_that_stays_is_not_waited_for() -> None:
    with console(b"nested: exit 0\n", ended=False) as stream:
        assert follow(stream, silence_s=0.01, deadline_s=LONG_S) == 0
