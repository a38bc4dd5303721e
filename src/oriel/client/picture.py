"""Pictures of a screen, and what can be told from their pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["Area", "Picture"]

BYTES = 4  # a pixel: blue, green, red, unused


@dataclass(frozen=True)
class Area:
    """A rectangle of pixels; x to the right, y down."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.x}+{self.y}"

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def centre(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    def contains(self, other: Area) -> bool:
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )

    def intersection(self, other: Area) -> Area:
        """Of width or height 0 where they do not meet."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Area(x, y, max(0, right - x), max(0, bottom - y))


@dataclass(frozen=True)
class Picture:
    """`pixels`: rows from the top, each `width` times blue, green, red, unused."""

    width: int
    height: int
    pixels: bytearray = field(repr=False)

    @staticmethod
    def black(width: int, height: int) -> Picture:
        return Picture(width, height, bytearray(width * height * BYTES))

    @property
    def area(self) -> Area:
        return Area(0, 0, self.width, self.height)

    def draw(self, area: Area, pixels: bytes | bytearray) -> None:
        """`area` lies within the picture; `pixels` are its own, row by row."""
        line = area.width * BYTES
        for row in range(area.height):
            start = ((area.y + row) * self.width + area.x) * BYTES
            self.pixels[start : start + line] = pixels[row * line : (row + 1) * line]

    def crop(self, area: Area) -> Picture:
        """A copy of what of `area` lies within the picture."""
        part = self.area.intersection(area)
        line = part.width * BYTES
        cropped = bytearray()
        for row in range(part.y, part.y + part.height):
            start = (row * self.width + part.x) * BYTES
            cropped += self.pixels[start : start + line]
        return Picture(part.width, part.height, cropped)

    def colours(self) -> Counter[tuple[int, int, int]]:
        """How often each (red, green, blue) occurs."""
        counted: Counter[tuple[int, int, int]] = Counter()
        for value, count in Counter(memoryview(self.pixels).cast("I")).items():
            # Read in the machine's order; every machine Oriel runs on is little-endian: 0xXXRRGGBB.
            counted[value >> 16 & 255, value >> 8 & 255, value & 255] += count
        return counted

    def share_of(self, colour: tuple[int, int, int], *, tolerance: int = 2) -> float:
        """The part, 0 to 1, of pixels within `tolerance` of `colour` in each of red, green and blue."""
        near = sum(
            count
            for found, count in self.colours().items()
            if all(abs(a - b) <= tolerance for a, b in zip(found, colour, strict=True))
        )
        return near / max(1, self.area.pixels)

    def differing(self, other: Picture) -> int:
        """How many pixels differ from a picture of the same size (all, if it is of another)."""
        if (self.width, self.height) != (other.width, other.height):
            return max(self.area.pixels, other.area.pixels)
        mine, theirs = memoryview(self.pixels).cast("I"), memoryview(other.pixels).cast("I")
        return sum(
            sum(a & 0xFFFFFF != b & 0xFFFFFF for a, b in zip(mine[start:end], theirs[start:end], strict=True))
            for start, end in pairwise(range(0, len(mine) + 1, self.width or 1))
            if mine[start:end] != theirs[start:end]
        )
