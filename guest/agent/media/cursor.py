"""The pointer's shape (XFixes), as a picture that the viewer draws by itself."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.display import Display

__all__ = ["Cursor", "CursorWatch", "png_of"]

MOST_PIXELS = 256  # each way: what browsers take as a cursor is smaller still


@dataclass(frozen=True)
class Cursor:
    """A shape. `serial` 0: none is shown."""

    serial: int
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    png: str = ""  # base64

    def to_wire(self, *, whole: bool) -> dict[str, Any]:
        told = {"type": "cursor", "serial": self.serial, "x": self.x, "y": self.y,
                "width": self.width, "height": self.height}  # fmt: skip
        return told | ({"png": self.png} if whole and self.png else {})


def png_of(width: int, height: int, pixels: list[int]) -> bytes:
    """A PNG from premultiplied ARGB words, row by row."""
    rows = bytearray()
    for row in range(height):
        rows.append(0)  # no filter
        for word in pixels[row * width : (row + 1) * width]:
            alpha = word >> 24 & 0xFF
            for shift in (16, 8, 0):
                value = word >> shift & 0xFF
                rows.append(min(255, value * 255 // alpha) if alpha else 0)
            rows.append(alpha)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class CursorWatch:
    """Tells of every change of the shape, on the event loop. A listener of the display."""

    def __init__(self, display: Display, changed: Callable[[Cursor], None]) -> None:
        self._display = display
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._due = False

    def begin(self, display: Any) -> None:
        """In the display's thread; anew after a loss."""
        display.xfixes_query_version()
        display.xfixes_select_cursor_input(display.screen().root, 1)
        self._display.listen(self)
        self._tell(display)

    def event(self, event: Any) -> None:
        if event.__class__.__name__ == "DisplayCursorNotify":
            self._due = True

    def settled(self, display: Any) -> None:
        if self._due:
            self._due = False
            self._tell(display)

    def lost(self) -> None:
        """It is begun anew with the display."""

    def _tell(self, display: Any) -> None:
        found = display.xfixes_get_cursor_image(display.screen().root)
        cursor = _cursor(found)
        self._loop.call_soon_threadsafe(self._changed, cursor)


def _cursor(found: Any) -> Cursor:
    width, height = found.width, found.height
    pixels = list(found.cursor_image)
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS) or not any(
        pixel >> 24 for pixel in pixels
    ):
        return Cursor(0)
    png = base64.b64encode(png_of(width, height, pixels)).decode()
    return Cursor(found.cursor_serial, found.xhot, found.yhot, width, height, png)
