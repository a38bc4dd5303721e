"""When pixels count as a terminal with text and a browser with a page; agreed with the guest's agent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent import paint as guest
from oriel.client.picture import Area, Picture
from oriel.client.verify.paint import browser_painted, detail_of, terminal_painted, text_rows

WIDTH, HEIGHT = 400, 300
INK, PAPER = b"\xff\xff\xff\0", b"\x22\x11\x11\0"


def paper() -> Picture:
    return Picture(WIDTH, HEIGHT, bytearray(PAPER * (WIDTH * HEIGHT)))


def box(picture: Picture, area: Area, colour: bytes = INK) -> Picture:
    picture.draw(area, colour * area.pixels)
    return picture


def text_at(picture: Picture, x: int, y: int, *, letters: int, height: int = 9) -> Picture:
    """Strokes one pixel wide, one gap apart, two a letter."""
    for stroke in range(letters * 2):
        box(picture, Area(x + stroke * 4, y, 1, height))
    return picture


def blank() -> Picture:
    return paper()


def with_cursor_only() -> Picture:
    return box(paper(), Area(4, 4, 8, 14))


def with_border_and_scroll_bar() -> Picture:
    picture = box(paper(), Area(0, 0, 10, HEIGHT))
    return box(picture, Area(WIDTH - 1, 0, 1, HEIGHT))


def with_prompt() -> Picture:
    return box(text_at(paper(), 4, 4, letters=16), Area(200, 4, 8, 9))


def with_menu_bar_only() -> Picture:
    picture = box(paper(), Area(0, 0, WIDTH, 20))
    for stroke in range(40):
        box(picture, Area(4 + stroke * 4, 4, 1, 9), PAPER)
    return picture


def with_three_rows_of_strokes() -> Picture:
    return text_at(paper(), 4, 4, letters=16, height=3)


TERMINALS: list[tuple[Callable[[], Picture], bool]] = [
    (blank, False),
    (with_cursor_only, False),
    (with_border_and_scroll_bar, False),
    (with_menu_bar_only, False),
    (with_three_rows_of_strokes, False),
    (with_prompt, True),
]


@pytest.mark.parametrize(("draw", "painted"), TERMINALS)
def test_terminal(draw: Callable[[], Picture], painted: bool) -> None:
    assert terminal_painted(draw()) is painted


def test_text_rows_counts_lines_of_pixels() -> None:
    assert text_rows(with_prompt()) == 9
    assert text_rows(Picture.black(0, 0)) == 0


def with_tool_bar(page: int) -> Picture:
    """A bar with detail, and `page` pixels of something below."""
    picture = box(paper(), Area(20, 20, 100, 30))
    return box(picture, Area(50, 200, page, 1)) if page else picture


BROWSERS: list[tuple[Picture, bool, bool]] = [
    (blank(), False, False),
    (blank(), True, False),  # not even its tool bar
    (with_tool_bar(0), False, False),
    (with_tool_bar(30), False, False),  # a spinner
    (with_tool_bar(0), True, True),
    (with_tool_bar(210), False, True),
]


@pytest.mark.parametrize(("picture", "blank_page", "painted"), BROWSERS)
def test_browser(picture: Picture, blank_page: bool, painted: bool) -> None:
    assert browser_painted(picture, blank_page=blank_page) is painted


def test_detail_is_what_is_not_the_dominant_colour() -> None:
    assert detail_of(blank()) == 0
    assert detail_of(box(paper(), Area(0, 0, 10, 3))) == 30


def test_the_guest_and_the_viewer_judge_alike() -> None:
    for draw, painted in TERMINALS:
        assert guest.terminal_painted(bytes(draw().pixels), WIDTH) is painted
    for picture, blank_page, painted in BROWSERS:
        pixels, size = bytes(picture.pixels), WIDTH * 4 * guest.BAND
        bands = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        assert guest.browser_painted(bands, WIDTH, blank_page=blank_page) is painted
