"""Pauses between attempts, told by a clock of the test's own."""

from __future__ import annotations

from oriel.controller.attempts import Attempts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    attempts = Attempts[str](30, 100, clock)
    assert attempts.due("a")
    for pause in (30, 60, 100, 100):
        attempts.failed("a", "no memory")
        clock.now += pause - 1
        assert not attempts.due("a")
        clock.now += 1
        assert attempts.due("a")
    assert attempts.problem("a") == "no memory"


def test_a_success_begins_the_pauses_anew_and_others_are_not_touched() -> None:
    clock = Clock()
    attempts = Attempts[str](30, 100, clock)
    for what in ("a", "a", "b"):
        attempts.failed(what, what)
    attempts.succeeded("a")
    assert attempts.due("a")
    assert attempts.problem("a") == ""
    assert attempts.problem("b") == "b"
    attempts.failed("a", "again")
    clock.now += 30
    assert attempts.due("a")
