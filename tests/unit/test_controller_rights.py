"""Tickets, limits, keys and the log's redaction: small parts with a clock of their own."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from oriel.controller.keys import chord
from oriel.controller.limits import Limits
from oriel.controller.log import configure, redact_text
from oriel.controller.rights import Mode, Permission, Principal, later
from oriel.controller.tickets import Pass, Tickets
from oriel.model.errors import AuthError, BusyError, InvalidError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


ANN = Principal(
    name="ann", user_id="u-1", role="user", token_id="t-1",
    permissions=frozenset({Permission.READ, Permission.CONTROL}),
)  # fmt: skip
BOB = replace(ANN, name="bob", user_id="u-2", token_id="t-2")


def ticket(mode: Mode = Mode.VIEW, principal: Principal = ANN) -> Pass:
    return Pass(desktop="d-1", mode=mode, principal=principal)


def test_a_ticket_works_once() -> None:
    tickets = Tickets()
    issued = tickets.issue(ticket(), 30).reveal()
    assert tickets.spend(issued).desktop == "d-1"
    with pytest.raises(AuthError):
        tickets.spend(issued)


def test_a_ticket_ends() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    issued = tickets.issue(ticket(), 30).reveal()
    clock.now += 30
    with pytest.raises(AuthError):
        tickets.spend(issued)


def test_a_ticket_outlives_nobody_who_asked_for_it() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    issued = tickets.issue(ticket(principal=replace(ANN, expires_at=later(5))), 3600).reveal()
    clock.now += 6
    with pytest.raises(AuthError):
        tickets.spend(issued)


def test_revoking_takes_tickets() -> None:
    tickets = Tickets()
    issued, other = (tickets.issue(ticket(principal=who), 30).reveal() for who in (ANN, BOB))
    tickets.revoke(lambda one: one.principal.token_id == "t-1")
    with pytest.raises(AuthError):
        tickets.spend(issued)
    assert tickets.spend(other).principal is BOB


def test_one_who_hoards_tickets_keeps_nobody_from_theirs() -> None:
    tickets = Tickets()

    def hoard() -> None:
        for _ in range(2000):
            tickets.issue(ticket(), 30)

    with pytest.raises(BusyError):
        hoard()
    tickets.issue(ticket(principal=BOB), 30)


def test_too_many_requests_say_when_to_come_again() -> None:
    clock = Clock()
    limits = Limits(10, 3, clock)
    for _ in range(3):
        limits.take("ann")
    with pytest.raises(BusyError) as refusal:
        limits.take("ann")
    assert refusal.value.retry_after_s >= 0.1
    limits.take("bob")
    clock.now += 0.11
    limits.take("ann")


def test_guessing_is_slowed_down() -> None:
    clock = Clock()
    limits = Limits(10, 3, clock)
    for _ in range(30):
        limits.check_failures("192.0.2.1")
        limits.note_failure("192.0.2.1")
    with pytest.raises(BusyError):
        limits.check_failures("192.0.2.1")
    limits.check_failures("192.0.2.2")


def test_guessing_a_password_is_slowed_down_sooner_and_for_nobody_else() -> None:
    clock = Clock()
    limits = Limits(10, 3, clock)
    for _ in range(5):
        limits.check_failures("192.0.2.1", "ann")
        limits.note_failure("192.0.2.1", "ann")
    with pytest.raises(BusyError) as refusal:
        limits.check_failures("192.0.2.1", "ann")
    assert refusal.value.retry_after_s > 20
    limits.check_failures("192.0.2.1", "bob")
    limits.check_failures("192.0.2.2", "ann")
    clock.now += 31
    limits.check_failures("192.0.2.1", "ann")


def test_a_whole_network_that_guesses_one_password_is_slowed_down() -> None:
    limits = Limits(10, 3, Clock())

    def guess() -> None:
        for number in range(256):
            limits.check_failures(f"192.0.2.{number}", "ann")
            limits.note_failure(f"192.0.2.{number}", "ann")

    with pytest.raises(BusyError):
        guess()
    limits.check_failures("192.0.2.1", "bob")


@pytest.mark.parametrize(
    ("text", "keysyms"),
    [
        ("Return", [0xFF0D]), ("ctrl+l", [0xFFE3, 0x6C]), ("alt+F4", [0xFFE9, 0xFFC1]), ("+", [0x2B]),
        ("ctrl++", [0xFFE3, 0x2B]), ("ü", [0xFC]), ("€", [0x010020AC]), ("Page_Down", [0xFF56]),
    ],
)  # fmt: skip
def test_keys_by_name(text: str, keysyms: list[int]) -> None:
    assert chord(text) == keysyms


@pytest.mark.parametrize("text", ["hyper+x", "ctrl+nokey", "a+b+c+d+e+f+g+h+i", "\x07"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidError):
        chord(text)


def test_secrets_do_not_reach_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    import structlog

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("info")
        secret = "S3cretS3cretS3cretS3cret"
        log = structlog.get_logger("canary")
        log.info(
            "connecting",
            url=f"http://user:{secret}@203.0.113.9:8080",
            password=secret,
            nested={"token": secret},
        )
        log.info(f"header Bearer {secret}", items=[f"ticket.{secret}", f"oriel_{secret}", f"grant_{secret}"])
        logging.getLogger("library").warning("a library says http://user:%s@host", secret)
        try:
            raise ValueError(f"oriel_{secret}")
        except ValueError:
            log.error("failed", exc_info=True)
        said = capfd.readouterr().err
    finally:
        root.handlers, root.level = before, level
        structlog.reset_defaults()
    assert secret not in said
    assert json.loads(said.splitlines()[0])["message"] == "connecting"
    assert "203.0.113.9" in said


def test_what_is_no_secret_stays() -> None:
    assert (
        redact_text("desktop d-abcdefghij of ann at /v1/desktops")
        == "desktop d-abcdefghij of ann at /v1/desktops"
    )
