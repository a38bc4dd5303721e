"""Budgets, the histogram, and the pages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oriel.egress.failure import DeniedError, Fault, UnreachableError, UpstreamError
from oriel.egress.ledger import Budget, Histogram, Ledger, mapped, open_counters, read_counters
from oriel.egress.pages import error_response
from oriel.egress.policy import Reason
from oriel.model.errors import HostError


def test_no_limit() -> None:
    budget = Budget(0)
    assert all(budget.take(1 << 30, 0.0) == 0.0 and budget.try_take(0.0) for _ in range(10))


def test_one_second_at_once_then_the_rate() -> None:
    budget = Budget(1000)
    assert budget.take(1000, 5.0) == 0.0
    assert budget.take(500, 5.0) == pytest.approx(0.5)
    assert budget.take(0, 5.25) == pytest.approx(0.25)
    assert budget.take(0, 5.5) == 0.0
    assert budget.take(1001, 100.0) == pytest.approx(0.001)  # an hour of silence saves up one second's worth


def test_single_ones() -> None:
    budget = Budget(2)
    assert [budget.try_take(0.0) for _ in range(3)] == [True, True, False]
    assert [budget.try_take(0.5) for _ in range(2)] == [True, False]


def test_histogram() -> None:
    histogram = Histogram()
    assert (histogram.quantile(0.5), histogram.to_json()["p95"]) == (None, None)
    for milliseconds in (0.5, 1, 3, 3, 700, 60_000):
        histogram.add(milliseconds / 1000)
    told = histogram.to_json()
    assert (told["count"], told["sum"]) == (6, 60707.5)
    assert (told["buckets"]["1"], told["buckets"]["5"], told["buckets"]["10000"]) == (2, 4, 5)
    assert told["buckets"]["+Inf"] == 6
    assert (told["p50"], told["p95"]) == (5.0, 10000.0)


def test_what_was_counted_outlives_who_counted_it(tmp_path: Path) -> None:
    path = tmp_path / "egress.counters"
    assert read_counters(path) == Ledger().to_json()
    for _ in range(2):  # the second as after a kill -9: nobody closed or wrote anything
        fd = open_counters(path)
        ledger = mapped(fd)
        os.close(fd)
        ledger.count_in(1000)
        ledger.count_out(10)
        ledger.count_connection()
        ledger.count_denial(Reason.QUOTA)
        ledger.latency.add(0.003)
    told = read_counters(path)
    assert (told["bytes_in"], told["bytes_out"], told["connections"], told["quota_used"]) == (
        2000,
        20,
        2,
        2020,
    )
    assert (told["denied"], told["denied_by_reason"], told["latency_ms"]["count"]) == (2, {"quota": 2}, 2)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (4096, 0o600)


def test_a_quota_begins_anew_only_for_a_later_round() -> None:
    ledger = Ledger()
    ledger.count_in(500)
    for number, used in ((0, 500), (2, 0), (2, 0), (1, 0)):
        ledger.begin_quota(number)
        assert ledger.quota_used == used
    ledger.count_out(7)
    ledger.begin_quota(0)  # what a gateway is told before it knows its desktop's policy
    assert (ledger.quota_used, ledger.to_json()["bytes_out"]) == (7, 7)


def test_something_else_is_not_counted_in(tmp_path: Path) -> None:
    path = tmp_path / "egress.counters"
    path.write_bytes(b"something else entirely")
    with pytest.raises(HostError):
        read_counters(path)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_denial_has_a_sentence(reason: Reason) -> None:
    error = DeniedError(reason, "a.example:80")
    assert "a.example:80 was refused: " in error.message
    assert error.code == f"egress_{reason}"


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_has_a_sentence_and_a_hint(fault: Fault) -> None:
    error = UpstreamError(fault, "http://proxy.example:80")
    assert error.message.startswith("the proxy of this desktop does not work: ")
    assert error.hint
    assert error.status in (502, 504)


def test_nothing_of_the_guests_is_html() -> None:
    error = UnreachableError("<script>x</script>&\"'", "<b>")
    page = error_response(error, 502, html=True)
    assert b"<script>" not in page
    assert b"<b>" not in page
    assert b"&lt;script&gt;" in page


def test_head_has_no_body_but_its_length() -> None:
    whole = error_response(UnreachableError("a", "b"), 502, html=False)
    head = error_response(UnreachableError("a", "b"), 502, html=False, body=False)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
