"""Tickets, grants, limits, keys and the log's redaction: small parts with a clock of their own."""

from __future__ import annotations

import json
import logging

import pytest

from oriel.controller.identity import Permission, Principal
from oriel.controller.keys import chord
from oriel.controller.limits import Limits
from oriel.controller.log import configure, redact_text
from oriel.controller.tickets import Mode, Tickets
from oriel.model.errors import AuthError, BusyError, InvalidError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


ANN = Principal(
    name="ann", user_id="u-1", role="user", token_id="t-1",
    permissions=frozenset({Permission.READ, Permission.CONTROL}),
)  # fmt: skip


def test_a_ticket_works_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue("d-1", Mode.VIEW, ANN, 30).reveal()
    assert tickets.spend(ticket).desktop == "d-1"
    with pytest.raises(AuthError):
        tickets.spend(ticket)


def test_a_ticket_ends() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    ticket = tickets.issue("d-1", Mode.VIEW, ANN, 30).reveal()
    clock.now += 30
    with pytest.raises(AuthError):
        tickets.spend(ticket)


def test_a_grant_comes_again_until_it_ends_and_its_tickets_with_it() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    _, grant = tickets.redeem(tickets.issue("d-1", Mode.VIEW, ANN, 30).reveal(), 3600)
    guest = tickets.guest(grant.reveal())
    assert (guest.desktop, guest.permissions) == ("d-1", {Permission.READ})
    ticket = tickets.issue("d-1", Mode.VIEW, guest, 30).reveal()
    assert tickets.spend(ticket).principal.desktop == "d-1"
    late = tickets.issue("d-1", Mode.VIEW, guest, 10**6).reveal()
    clock.now += 3600
    for try_it in (lambda: tickets.guest(grant.reveal()), lambda: tickets.spend(late)):
        with pytest.raises(AuthError):
            try_it()


def test_revoking_takes_tickets_and_grants() -> None:
    tickets = Tickets()
    ticket = tickets.issue("d-1", Mode.VIEW, ANN, 30).reveal()
    _, grant = tickets.redeem(tickets.issue("d-1", Mode.CONTROL, ANN, 30).reveal(), 3600)
    tickets.revoke(lambda one: one.principal.token_id == "t-1")
    for try_it in (lambda: tickets.guest(grant.reveal()), lambda: tickets.spend(ticket)):
        with pytest.raises(AuthError):
            try_it()


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
