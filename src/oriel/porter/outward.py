"""What a desktop's VNC server says, without its clipboard (RFC 6143, 7.6).

Only for desktops whose clipboard gives nothing out. To know where a message ends, every encoding in it must
tell its own length: so the viewer is made to ask for those alone (`plain_encodings`), and a server that sends
any other is cut off. What is passed on is never kept, only counted.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator

from oriel.model.errors import WireError

__all__ = ["Outward", "plain_encodings"]

RAW, COPY_RECT, ZLIB, ZRLE = 0, 1, 6, 16
CURSOR, DESKTOP_SIZE, LAST_RECT, DESKTOP_NAME, EXTENDED_SIZE = -239, -223, -224, -307, -308
LEVELS = (range(-32, -22), range(-256, -246))  # of quality and compression: they change no form
ALLOWED = frozenset(
    (RAW, COPY_RECT, ZLIB, ZRLE, CURSOR, DESKTOP_SIZE, LAST_RECT, DESKTOP_NAME, EXTENDED_SIZE)
)
UPDATE, COLOURS, BELL, CUT = range(4)
MOST_PIXELS = 16384 * 16384
MOST_TEXT = 1 << 24


def plain_encodings(message: bytes) -> bytes:
    """A viewer's SetEncodings with those that `Outward` can follow."""
    (count,) = struct.unpack_from(">H", message, 2)
    wanted = struct.unpack_from(f">{count}i", message, 4)
    kept = [one for one in wanted if one in ALLOWED or any(one in levels for levels in LEVELS)]
    return struct.pack(f">BxH{len(kept)}i", 2, len(kept), *kept)


class Outward:
    """Feed it what the server sends; it gives back what may go on to the viewer."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._passing = 0  # bytes still to come that are passed on as they are
        self._dropping = 0
        self._pixel = 0  # bytes; as the server says at first, unless the viewer has chosen already
        self._reading = self._follow()
        self._wanted = next(self._reading)  # how many bytes it must see to go on
        self._passed = bytearray()

    def feed(self, data: bytes | memoryview) -> bytes:
        """WireError for what cannot be followed."""
        self._held += data
        self._passed = bytearray()
        while True:
            self._move()
            if self._passing or self._dropping or len(self._held) < self._wanted:
                return bytes(self._passed)
            self._wanted = next(self._reading)

    def pixels(self, bits: int) -> None:
        """The viewer has chosen so many bits a pixel."""
        self._pixel = bits // 8

    def _move(self) -> None:
        """Pass on, or drop, as much as is there of what is neither looked at nor kept."""
        count = min(self._passing, len(self._held))
        self._passed += self._held[:count]
        self._passing -= count
        dropped = min(self._dropping, len(self._held) - count)
        self._dropping -= dropped
        del self._held[: count + dropped]

    def _peek(self, form: str, at: int = 0) -> tuple[int, ...]:
        return struct.unpack_from(form, self._held, at)

    # Each step yields how many bytes it must see, and says how many of them, and of those behind, pass.

    def _follow(self) -> Iterator[int]:
        yield from self._greet()
        while True:
            yield 1
            kind = self._held[0]
            if kind == UPDATE:
                yield from self._update()
            elif kind == COLOURS:
                yield 6
                self._passing = 6 + 6 * self._peek(">H", 4)[0]
                yield 0
            elif kind == BELL:
                self._passing = 1
                yield 0
            elif kind == CUT:
                yield 8
                # Negative: the extended clipboard's form.
                length = abs(self._peek(">i", 4)[0])
                if length > MOST_TEXT:
                    raise WireError("the desktop's screen sends a clipboard without end")
                self._dropping = 8 + length
                yield 0
            else:
                raise WireError(f"the desktop's screen sent the unknown message {kind}")

    def _greet(self) -> Iterator[int]:
        """Version, the kinds of security, the choice's result, and the screen's first description."""
        self._passing = 12
        yield 0
        yield 1
        kinds = self._held[0]
        if not kinds:
            raise WireError("the desktop's screen refuses the connection")
        self._passing = 1 + kinds
        yield 0
        yield 4
        if self._peek(">I")[0]:
            raise WireError("the desktop's screen refuses the connection")
        self._passing = 4
        yield 0
        yield 24
        self._pixel = self._pixel or self._held[4] // 8
        name = self._peek(">I", 20)[0]
        if name > MOST_TEXT:
            raise WireError("the desktop's screen has a name without end")
        self._passing = 24 + name
        yield 0

    def _update(self) -> Iterator[int]:
        yield 4
        rectangles = self._peek(">H", 2)[0]
        self._passing = 4
        yield 0
        for _ in range(rectangles):
            yield 12
            width, height, encoding = self._peek(">HHi", 4)
            if encoding == LAST_RECT:
                self._passing = 12
                yield 0
                return
            size = yield from self._measure(width, height, encoding)
            self._passing = 12 + size
            yield 0

    def _measure(self, width: int, height: int, encoding: int) -> Generator[int, None, int]:
        """Bytes of a rectangle behind its head."""
        if width * height > MOST_PIXELS:
            raise WireError("the desktop's screen sent an impossible rectangle")
        if encoding == RAW:
            return width * height * self._pixel
        if encoding == COPY_RECT:
            return 4
        if encoding in (ZLIB, ZRLE, DESKTOP_NAME):
            yield 16
            return 4 + int(self._peek(">I", 12)[0])
        if encoding == CURSOR:
            return width * height * self._pixel + (width + 7) // 8 * height
        if encoding == DESKTOP_SIZE:
            return 0
        if encoding == EXTENDED_SIZE:
            yield 16
            return 4 + 16 * self._held[12]
        raise WireError(f"the desktop's screen sent the encoding {encoding}, which nobody asked for")
