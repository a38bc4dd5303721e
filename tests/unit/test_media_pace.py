"""When the screen's next picture is due, and which of its rows."""

from __future__ import annotations

from agent.media.damage import REFINEMENTS, Band, Pace
from agent.media.picture import Layout


def test_a_band_grows_and_is_taken_whole_rows_in_pairs() -> None:
    band = Band()
    assert not band
    band.add(11, 13)
    band.add(101, 102)
    assert band
    assert band.take(720) == (10, 102)
    assert not band


def test_a_band_beyond_the_screen_is_cut() -> None:
    band = Band()
    band.add(700, 900)
    assert band.take(720) == (700, 720)
    band.add(800, 900)
    assert band.take(720) == (720, 720) or band.take(720)[0] >= band.take(720)[1]


def test_the_first_change_is_taken_at_once_and_the_next_when_its_time_comes() -> None:
    pace = Pace(fps=50)
    assert pace.due(10.0, changed=True) == 0
    pace.took(10.0, changed=True)
    assert abs((pace.due(10.005, changed=True) or 0) - 0.015) < 1e-9
    assert pace.due(10.02, changed=True) == 0


def test_what_stands_still_is_refined_and_then_left_alone() -> None:
    pace = Pace(fps=60)
    pace.took(10.0, changed=True)
    for after in REFINEMENTS:
        due = pace.due(10.0 + 1 / 60, changed=False)
        assert due is not None
        pace.took(10.0 + after, changed=False)
    assert pace.due(99.0, changed=False) is None


def test_planes_lie_as_gstreamer_has_them() -> None:
    layout = Layout(1280, 720)
    assert (layout.size, layout.u_offset, layout.v_offset) == (1382400, 921600, 1152000)
    odd = Layout(1366, 768)
    assert (odd.y_stride, odd.c_stride) == (1368, 684)


def test_a_picture_that_is_asked_for_once_more_is_taken_once() -> None:
    pace = Pace(fps=60)
    pace.again()
    assert pace.due(10.0, changed=False) == 0
    pace.took(10.0, changed=False)
    assert pace.due(11.0, changed=False) is None
    pace.took(20.0, changed=True)
    pace.again()
    for _ in REFINEMENTS:
        pace.took(21.0, changed=False)
    assert pace.due(22.0, changed=False) is None
