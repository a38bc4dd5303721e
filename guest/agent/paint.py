"""Whether a window's pixels show what a person would call "there": pure functions over BGRX pixels.

A window is mapped long before its program has drawn. Each kind has its own sign of life:

- **Terminal**: text. A cursor, a scroll bar or a border is a box, which a line of pixels enters and leaves
  once; a word is many strokes. So: at least `TEXT_ROWS` lines of pixels, lying on the terminal's own
  background, that change between background and ink at least `STROKES` times.
- **Browser**: a tool bar *and* a page. The band at the top (tabs, address) must have detail, as icons and
  letters give, and so must the page below, except for `about:blank`, which is blank by right.
- **Anything else**: not one flat colour.

A window is looked at in bands of `BAND` lines from its top, until one of them shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["BAND", "Rect", "browser_painted", "covered_share", "not_flat", "terminal_painted"]

PIXEL = 4  # bytes
STROKES = 8  # "$ " and a cursor make at most six changes in a line of pixels; "user@" makes ten and more
TEXT_ROWS = 4
BAND = 110  # pixels: Chrome's tab strip and tool bar are 84 to 96 high, an info bar comes below
SAMPLE_ROWS, SAMPLE_COLUMNS = 97, 97  # of an area's lines and columns, for its dominant colour
DETAIL = 200  # pixels that are not the dominant colour; a spinner or a caret has fewer


@dataclass(frozen=True)
class Rect:
    """An area of the screen in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        return max(0, self.width) * max(0, self.height)

    def cut(self, other: Rect) -> Rect:
        """What both share; its area is 0 if nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Rect(x, y, max(0, right - x), max(0, bottom - y))


def covered_share(area: Rect, above: Iterable[Rect]) -> float:
    """How much of `area`, 0 to 1, is under the windows `above` it."""
    parts = [part for rect in above if (part := area.cut(rect)).area]
    edges = sorted({edge for part in parts for edge in (part.x, part.x + part.width)})
    covered = 0
    for left, right in pairwise(edges):
        spans = sorted(
            (part.y, part.y + part.height)
            for part in parts
            if part.x <= left and right <= part.x + part.width
        )
        reach = None
        for top, bottom in spans:
            start = top if reach is None else max(top, reach)
            covered += (right - left) * max(0, bottom - start)
            reach = bottom if reach is None else max(reach, bottom)
    return covered / area.area if area.area else 1.0


def _rows(pixels: bytes, width: int) -> list[bytes]:
    stride = width * PIXEL or 1
    return [pixels[start : start + stride] for start in range(0, len(pixels) - stride + 1, stride)]


def _dominant(rows: Sequence[bytes], width: int) -> int:
    """The pixel value seen most often in an even sample; the unused fourth byte is part of it, and constant.

    Counting every pixel of a screen takes a second where the processor is emulated.
    """
    down = max(1, len(rows) // SAMPLE_ROWS)
    across = max(1, width // SAMPLE_COLUMNS)
    counted: Counter[int] = Counter()
    for row in rows[::down]:
        counted.update(memoryview(row).cast("I")[::across])
    return counted.most_common(1)[0][0]


def _detailed(rows: Sequence[bytes], width: int) -> bool:
    """Whether at least DETAIL pixels are not of the dominant colour."""
    if not rows:
        return False
    dominant = _dominant(rows, width)
    blank = dominant.to_bytes(PIXEL, "little") * width
    found = 0
    for row in rows:
        if row != blank:
            found += sum(value != dominant for value in memoryview(row).cast("I"))
            if found >= DETAIL:
                return True
    return False


def not_flat(pixels: bytes, width: int) -> bool:
    """Whether a window shows more than one colour."""
    return _detailed(_rows(pixels, width), width)


def terminal_painted(pixels: bytes, width: int) -> bool:
    """Whether there is text on the terminal's background."""
    rows = _rows(pixels, width)
    if not rows:
        return False
    background = _dominant(rows, width)
    blank = background.to_bytes(PIXEL, "little") * width
    text = 0
    for row in rows:
        if row != blank and _strokes(row, background) >= STROKES:
            text += 1
            if text == TEXT_ROWS:
                return True
    return False


def _strokes(row: bytes, background: int) -> int:
    """Changes between background and ink; 0 for a line that lies on another background (a menu bar)."""
    ink = [value != background for value in memoryview(row).cast("I")]
    if sum(ink) * 2 > len(ink):
        return 0
    return sum(left != right for left, right in pairwise(ink))


def browser_painted(bands: Iterable[bytes], width: int, *, blank_page: bool) -> bool:
    """Whether the tool bar, in the first band, and the page below are there; `blank_page`: the page has
    nothing to show."""
    bar, page = next(iter(bands := iter(bands)), b""), bands
    if not _detailed(_rows(bar, width), width):
        return False
    return any(blank_page or _detailed(_rows(band, width), width) for band in page)
