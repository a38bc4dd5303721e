"""What counts as painted: pixels drawn here, one picture a rule."""

from __future__ import annotations

import random

import pytest

from agent.paint import BAND, Rect, browser_painted, covered_share, not_flat, terminal_painted

BLACK, WHITE, GREY, BLUE = b"\0\0\0\xff", b"\xff\xff\xff\xff", b"\xe0\xe0\xe0\xff", b"\xc0\x40\x20\xff"
WIDTH, HEIGHT = 320, 240


class Picture:
    """Pixels to draw boxes and text-like strokes on."""

    def __init__(self, colour: bytes) -> None:
        self.pixels = bytearray(colour * (WIDTH * HEIGHT))

    def box(self, x: int, y: int, width: int, height: int, colour: bytes) -> Picture:
        for row in range(y, y + height):
            start = (row * WIDTH + x) * 4
            self.pixels[start : start + width * 4] = colour * width
        return self

    def text(self, x: int, y: int, letters: int, colour: bytes) -> Picture:
        """Letters of two upright strokes each, eight pixels high."""
        for letter in range(letters):
            for stroke in (0, 3):
                self.box(x + letter * 7 + stroke, y, 1, 8, colour)
        return self

    @property
    def bytes(self) -> bytes:
        return bytes(self.pixels)


def test_a_prompt_on_a_dark_or_light_ground_is_a_terminal_painted() -> None:
    assert terminal_painted(Picture(BLACK).text(4, 4, 15, WHITE).bytes, WIDTH)
    assert terminal_painted(Picture(WHITE).text(4, 4, 15, BLACK).bytes, WIDTH)
    assert terminal_painted(Picture(BLACK).text(4, 220, 15, WHITE).bytes, WIDTH)


@pytest.mark.parametrize(
    "picture",
    [
        Picture(BLACK),
        Picture(WHITE),
        Picture(BLACK).box(4, 4, 8, 14, WHITE),  # a cursor
        Picture(BLACK)
        .box(4, 4, 8, 14, WHITE)
        .box(306, 0, 14, 240, GREY)
        .box(308, 20, 10, 60, BLUE),  # scroll bar
        Picture(BLACK).text(4, 4, 1, WHITE).box(14, 4, 8, 12, WHITE),  # "$ " and a cursor
        Picture(BLACK).box(0, 0, WIDTH, 24, GREY).text(8, 6, 20, BLACK),  # a menu bar with text, no prompt
        Picture(BLACK).box(0, 120, WIDTH, 120, WHITE),  # half drawn
    ],
    ids=["black", "white", "cursor", "scroll-bar", "dollar", "menu-bar", "half"],
)
def test_what_is_not_yet_text_is_not_a_terminal_painted(picture: Picture) -> None:
    assert not terminal_painted(picture.bytes, WIDTH)


def test_text_below_a_menu_bar_counts() -> None:
    picture = Picture(BLACK).box(0, 0, WIDTH, 24, GREY).text(8, 6, 20, BLACK).text(4, 40, 15, WHITE)
    assert terminal_painted(picture.bytes, WIDTH)


def bands(pixels: bytes) -> list[bytes]:
    size = WIDTH * 4 * BAND
    return [pixels[start : start + size] for start in range(0, len(pixels), size)]


def browser(*, bar: bool, page: bool) -> bytes:
    picture = Picture(WHITE).box(0, 0, WIDTH, 40, GREY) if bar else Picture(WHITE)
    if bar:
        picture.text(30, 10, 20, BLACK).text(60, 60, 20, BLUE)
    if page:
        picture.text(40, 150, 30, BLACK)
    return picture.bytes


def test_a_browser_needs_tool_bar_and_page() -> None:
    assert browser_painted(bands(browser(bar=True, page=True)), WIDTH, blank_page=False)
    assert not browser_painted(bands(browser(bar=False, page=False)), WIDTH, blank_page=False)
    assert not browser_painted(bands(browser(bar=True, page=False)), WIDTH, blank_page=False)
    assert not browser_painted(bands(browser(bar=False, page=True)), WIDTH, blank_page=False)


def test_a_page_that_is_blank_by_right_needs_the_tool_bar_only() -> None:
    assert browser_painted(bands(browser(bar=True, page=False)), WIDTH, blank_page=True)
    assert not browser_painted(bands(browser(bar=False, page=False)), WIDTH, blank_page=True)


def test_a_window_lower_than_a_tool_bar_is_no_browser_painted() -> None:
    assert not browser_painted(bands(browser(bar=True, page=True)[: WIDTH * 4 * 60]), WIDTH, blank_page=True)


def test_flat_is_flat() -> None:
    assert not not_flat(Picture(BLUE).bytes, WIDTH)
    assert not not_flat(Picture(BLUE).box(5, 5, 8, 8, WHITE).bytes, WIDTH)
    assert not_flat(Picture(BLUE).box(5, 5, 50, 50, WHITE).bytes, WIDTH)
    assert not not_flat(b"", 0)


def test_covering_is_the_area_under_all_together() -> None:
    area = Rect(10, 10, 100, 100)
    assert covered_share(area, []) == 0
    assert covered_share(area, [Rect(0, 0, 200, 200)]) == 1
    assert covered_share(area, [Rect(10, 10, 50, 100), Rect(10, 10, 50, 100)]) == 0.5
    assert covered_share(area, [Rect(0, 0, 60, 60), Rect(60, 60, 500, 500)]) == 0.5
    assert covered_share(area, [Rect(200, 200, 5, 5)]) == 0
    assert covered_share(Rect(0, 0, 0, 5), []) == 1


def test_covering_agrees_with_counting_points() -> None:
    chance = random.Random(1)
    area = Rect(5, 7, 23, 19)
    for _ in range(200):
        above = [
            Rect(
                chance.randrange(-5, 30), chance.randrange(-5, 30), chance.randrange(25), chance.randrange(25)
            )
            for _ in range(chance.randrange(6))
        ]
        points = sum(
            any(r.x <= x < r.x + r.width and r.y <= y < r.y + r.height for r in above)
            for x in range(area.x, area.x + area.width)
            for y in range(area.y, area.y + area.height)
        )
        assert covered_share(area, above) == pytest.approx(points / area.area)
