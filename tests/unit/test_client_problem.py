"""Errors of the API come back as what they were."""

from __future__ import annotations

import httpx
import pytest

from oriel.client.problem import error_of_close, error_of_response
from oriel.controller.problems import problem
from oriel.model.errors import (
    AuthError,
    BusyError,
    Fault,
    ForbiddenError,
    HostError,
    InvalidError,
    LaunchError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    StateError,
    UnavailableError,
    WireError,
)

ERRORS = [
    InvalidError("name: must be short", faults=[Fault("name", "must be short")], hint="shorten it"),
    InvalidError("the body is over 1 MiB", code="too_large"),
    NotFoundError("no desktop x", hint="oriel list"),
    AuthError("no token"),
    ForbiddenError("not yours"),
    StateError("it is stopped", hint="start it"),
    StateError("it runs", code="image_in_use"),
    BusyError("too many", retry_after_s=7),
    UnavailableError("hostd is silent"),
    NoSpaceError("the disk is full"),
    HostError("no nft"),
    LaunchError("exit code 1: nspawn\nlast line"),
    WireError("torn"),
    OrielError("something unexpected went wrong (error 12)", hint="try again"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{error.code}")
def test_what_the_controller_writes_the_client_reads(error: OrielError) -> None:
    answer = problem(error, request_id="1")
    read = error_of_response(answer.status_code, answer.body, httpx.Headers(dict(answer.headers)))
    assert (type(read), read.message, read.hint, read.code) == (
        type(error), error.message, error.hint, error.code,
    )  # fmt: skip
    if isinstance(error, InvalidError):
        assert isinstance(read, InvalidError)
        assert read.faults == error.faults
    if isinstance(error, BusyError):
        assert isinstance(read, BusyError)
        assert read.retry_after_s == error.retry_after_s


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'{"faults": 3}'])
def test_an_answer_that_is_no_problem_document_is_told_by_its_status(body: bytes) -> None:
    error = error_of_response(503, body, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert isinstance(error, UnavailableError)
    assert "503" in error.message


def test_someone_elses_401_says_what_to_do() -> None:
    error = error_of_response(401, b"", {})
    assert isinstance(error, AuthError)
    assert "ORIEL_TOKEN" in error.hint


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (4409, "wrong_state", StateError),
        (4404, "", NotFoundError),
        (4403, "forbidden", ForbiddenError),
        (1011, "", UnavailableError),
        (1006, "", UnavailableError),
    ],
)
def test_closed_sockets(code: int, reason: str, kind: type[OrielError]) -> None:
    assert type(error_of_close(code, reason)) is kind
