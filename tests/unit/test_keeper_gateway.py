"""How many of a gateway's events reach the journal."""

from __future__ import annotations

from oriel.keeper.gateway import EventLimit


def test_a_burst_passes_then_a_trickle_and_the_rest_is_counted() -> None:
    now = 0.0
    limit = EventLimit(3, 0.5, clock=lambda: now)
    assert [limit.take() for _ in range(5)] == [(True, 0)] * 3 + [(False, 0)] * 2
    now = 2.0
    assert [limit.take() for _ in range(2)] == [(True, 2), (False, 0)]
    now = 1000.0
    assert [limit.take() for _ in range(4)] == [(True, 1), (True, 0), (True, 0), (False, 0)]
