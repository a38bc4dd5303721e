"""Whether pixels show a terminal with text, a browser with a page: the guest agent's criteria for "ready"
(guest/agent/paint.py), applied to what a viewer received. A test holds the two together."""

from __future__ import annotations

from itertools import pairwise

from oriel.client.picture import Area, Picture

__all__ = ["BAR_HEIGHT", "browser_painted", "detail_of", "terminal_painted", "text_rows"]

STROKES = 8  # a cursor, a border or "$ " make fewer changes in a line of pixels; a word makes more
TEXT_ROWS = 4
BAR_HEIGHT = 110  # pixels of Chrome's tabs, address and an info bar
DETAIL = 200  # pixels unlike the dominant colour; a spinner or a caret has fewer


def terminal_painted(picture: Picture) -> bool:
    """Whether text stands on the terminal's background."""
    return text_rows(picture) >= TEXT_ROWS


def text_rows(picture: Picture) -> int:
    """How many lines of pixels have the strokes of text on the dominant colour."""
    values = _values(picture)
    if not values:
        return 0
    background = _dominant(picture)
    return sum(
        _strokes(values[start : start + picture.width], background) >= STROKES
        for start in range(0, len(values), picture.width)
    )


def browser_painted(picture: Picture, *, blank_page: bool = False) -> bool:
    """Whether tool bar and page are there; `blank_page`: the page has nothing to show by right."""
    bar = picture.crop(Area(0, 0, picture.width, BAR_HEIGHT))
    page = picture.crop(Area(0, BAR_HEIGHT, picture.width, picture.height))
    if not page.area.pixels or detail_of(bar) < DETAIL:
        return False
    return blank_page or detail_of(page) >= DETAIL


def detail_of(picture: Picture) -> int:
    """Pixels that are not of the dominant colour."""
    counted = picture.colours()
    return counted.total() - max(counted.values(), default=0)


def _dominant(picture: Picture) -> int:
    (red, green, blue), _ = picture.colours().most_common(1)[0]
    return red << 16 | green << 8 | blue


def _values(picture: Picture) -> list[int]:
    return [value & 0xFFFFFF for value in memoryview(picture.pixels).cast("I")]


def _strokes(row: list[int], background: int) -> int:
    """Changes between background and ink; 0 for a line that lies on another background (a menu bar)."""
    ink = [value != background for value in row]
    if sum(ink) * 2 > len(ink):
        return 0
    return sum(left != right for left, right in pairwise(ink))
