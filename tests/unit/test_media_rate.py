"""How the rate follows what a viewer's network carries."""

from __future__ import annotations

from agent.media.rate import CEILING_KBPS, FLOOR_KBPS, Rate, Report, frames_for, scale_for


def run(rate: Rate, link_kbps: float, seconds: float, *, start: float = 0.0, queue_ms: float = 0.0) -> float:
    """A link of that width with a queue of 300 ms, four reports a second; the queue at the end."""
    for step in range(int(seconds * 4)):
        sent = rate.kbps
        grown = (sent / link_kbps - 1) * 250
        after = min(300.0, max(0.0, queue_ms + grown))
        loss = max(0.0, 1 - link_kbps / sent) if after == 300.0 else 0.0
        rate.take(Report(sent, min(sent, link_kbps), loss, after - queue_ms), start + step / 4)
        queue_ms = after
    return queue_ms


def test_a_wide_link_is_used_up_to_the_ceiling() -> None:
    rate = Rate()
    run(rate, 100_000, 60)
    assert rate.kbps == CEILING_KBPS


def test_a_narrow_link_is_not_overrun_and_not_abandoned() -> None:
    rate = Rate()
    queue = run(rate, 1000, 20)
    assert 500 < rate.kbps < 1300
    run(rate, 1000, 20, start=20, queue_ms=queue)
    assert 500 < rate.kbps < 1300


def test_it_comes_back_when_the_link_is_wide_again() -> None:
    rate = Rate()
    queue = run(rate, 1000, 10)
    run(rate, 50_000, 30, start=10, queue_ms=queue)
    assert rate.kbps > 8000


def test_a_little_loss_is_no_reason() -> None:
    rate = Rate()
    for step in range(40):
        rate.take(Report(rate.kbps, rate.kbps, 0.02, 0.0), step / 4)
    assert rate.kbps > 8000


def test_nothing_arrives_and_the_floor_holds() -> None:
    rate = Rate()
    for step in range(400):
        rate.take(Report(1000, 0, 1.0, 0.0), step / 4)
    assert rate.kbps == FLOOR_KBPS


def test_less_is_fewer_pictures_rather_than_coarse_ones() -> None:
    assert [frames_for(kbps) for kbps in (8000, 1000, 300)] == [60.0, 30.0, 15.0]


def test_size_is_given_up_last_and_comes_back_later_than_it_went() -> None:
    assert scale_for(8000, 1.0) == scale_for(350, 1.0) == 1.0
    assert scale_for(349, 1.0) == 0.75
    assert scale_for(150, 1.0) == scale_for(150, 0.75) == 0.5
    assert scale_for(290, 0.5) == 0.5
    assert scale_for(310, 0.5) == scale_for(590, 0.5) == scale_for(590, 0.75) == 0.75
    assert scale_for(610, 0.5) == 1.0
