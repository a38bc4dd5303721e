"""RFB 3.8 (RFC 6143) as a viewer speaks it, without I/O: bytes in, messages and a picture out.

Raw and CopyRect, the cursor and desktop-size pseudo-encodings, no authentication: the way to the
server is what is guarded. The server is a guest's, so nothing it says is believed unmeasured.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from enum import IntEnum

from oriel.client.picture import Area, Picture
from oriel.model.errors import WireError

__all__ = ["Bell", "CutText", "Encoding", "Message", "Session", "Update", "keysyms_of", "named_keysym"]

VERSION = b"RFB 003.008\n"
NO_AUTHENTICATION = 1
MAX_SIDE = 8192  # pixels; twice the largest screen Oriel allows
MAX_CURSOR_SIDE = 1024
MAX_TEXT = 1 << 20
MAX_RECTANGLES = 1 << 16
# 32 bits a pixel, depth 24, little-endian, blue in the lowest byte: BGRX in memory, as X has it.
PIXEL_FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Encoding(IntEnum):
    RAW = 0
    COPY_RECT = 1
    DESKTOP_SIZE = -223
    CURSOR = -239


@dataclass(frozen=True)
class Update:
    """The picture changed in `areas`; `resized`: it is a new one, black until drawn."""

    areas: tuple[Area, ...]
    resized: bool


@dataclass(frozen=True)
class CutText:
    """The guest's clipboard, Latin-1."""

    text: str


@dataclass(frozen=True)
class Bell:
    pass


Message = Update | CutText | Bell
# A conversation asks for exactly so many bytes and is sent them.
_Reading = Generator[int, bytes, None]


@dataclass
class Session:
    """One connection's state. Send `outgoing` after each `receive`; `picture` is set once connected."""

    shared: bool = True
    name: str = ""
    picture: Picture | None = None
    outgoing: bytearray = field(default_factory=bytearray, repr=False)
    _buffer: bytearray = field(default_factory=bytearray, repr=False)
    _messages: list[Message] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._conversation = self._converse()
        self._wanted = next(self._conversation)

    def receive(self, data: bytes) -> list[Message]:
        """What `data`, cut anywhere, completes. WireError if it is not RFB; the session is then over."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= self._wanted:
            part = bytes(self._buffer[at : at + self._wanted])
            at += self._wanted
            try:
                self._wanted = self._conversation.send(part)
            except StopIteration as error:
                raise WireError("this RFB session has already ended") from error
        del self._buffer[:at]
        messages, self._messages = self._messages, []
        return messages

    def request_update(self, *, incremental: bool, area: Area | None = None) -> None:
        """Ask for `area`, or all: changes only, or in any case."""
        picture = self._connected()
        wanted = area or picture.area
        self.outgoing += struct.pack(
            ">BBHHHH", 3, incremental, wanted.x, wanted.y, wanted.width, wanted.height
        )

    def key(self, keysym: int, *, down: bool) -> None:
        self._connected()
        self.outgoing += struct.pack(">BB2xI", 4, down, keysym)

    def pointer(self, x: int, y: int, *, buttons: int = 0) -> None:
        """`buttons`: bit 0 left, 1 middle, 2 right, 3 and 4 wheel up and down."""
        self._connected()
        self.outgoing += struct.pack(">BBHH", 5, buttons, x, y)

    def _connected(self) -> Picture:
        if self.picture is None:
            raise WireError("the RFB session is not established yet")
        return self.picture

    def _converse(self) -> _Reading:
        yield from self._handshake()
        while True:
            kind = (yield 1)[0]
            if kind == 0:
                yield from self._update()
            elif kind == 1:
                yield from self._skip_colour_map()
            elif kind == 2:
                self._messages.append(Bell())
            elif kind == 3:
                length = struct.unpack(">3xI", (yield 7))[0]
                _limit("clipboard", length, MAX_TEXT)
                text = yield length
                self._messages.append(CutText(text.decode("latin-1")))
            else:
                raise WireError(f"the RFB server sent a message of unknown type {kind}")

    def _handshake(self) -> _Reading:
        version = yield 12
        if not version.startswith(b"RFB 003.") or version < VERSION:
            raise WireError(f"an RFB server of version 3.8 was expected, not {version[:12]!r}")
        self.outgoing += VERSION
        count = (yield 1)[0]
        if count == 0:
            raise WireError(f"the RFB server refuses: {(yield from _reason())}")
        offered = yield count
        if NO_AUTHENTICATION not in offered:
            raise WireError(
                f"the RFB server wants authentication (types {sorted(offered)})",
                hint="the image's x11vnc.service must not set a password: no one outside reaches its port",
            )
        self.outgoing.append(NO_AUTHENTICATION)
        if (yield 4) != b"\0\0\0\0":
            raise WireError(f"the RFB server refuses: {(yield from _reason())}")
        self.outgoing.append(self.shared)
        width, height, name_length = struct.unpack(">HH16xI", (yield 24))
        self._resize(width, height)
        _limit("name", name_length, MAX_TEXT)
        self.name = (yield name_length).decode(errors="replace")
        self.outgoing += b"\0\0\0\0" + PIXEL_FORMAT
        self.outgoing += struct.pack(f">BxH{len(Encoding)}i", 2, len(Encoding), *Encoding)

    def _update(self) -> _Reading:
        (count,) = struct.unpack(">xH", (yield 3))
        _limit("number of rectangles", count, MAX_RECTANGLES)
        areas: list[Area] = []
        resized = False
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", (yield 12))
            if encoding == Encoding.DESKTOP_SIZE:
                self._resize(width, height)
                resized, areas = True, []
            elif encoding == Encoding.CURSOR:
                _limit("cursor", max(width, height), MAX_CURSOR_SIDE)
                # Drawn by the viewer where the pointer is; no one looks at it here.
                yield from _skip(width * height * 4 + (width + 7) // 8 * height)
            else:
                areas.append(area := Area(x, y, width, height))
                yield from self._draw(area, encoding)
        self._messages.append(Update(tuple(areas), resized))

    def _draw(self, area: Area, encoding: int) -> _Reading:
        picture = self._connected()
        if not picture.area.contains(area):
            raise WireError(f"the RFB server drew outside its screen: {area} in {picture.area}")
        if encoding == Encoding.RAW:
            for row in range(area.y, area.y + area.height):
                line = yield area.width * 4
                picture.draw(Area(area.x, row, area.width, 1), line)
        elif encoding == Encoding.COPY_RECT:
            x, y = struct.unpack(">HH", (yield 4))
            source = Area(x, y, area.width, area.height)
            if not picture.area.contains(source):
                raise WireError(f"the RFB server copied from outside its screen: {source}")
            picture.draw(area, picture.crop(source).pixels)
        else:
            raise WireError(f"the RFB server used encoding {encoding}, which was not offered")

    def _skip_colour_map(self) -> _Reading:
        (count,) = struct.unpack(">x2xH", (yield 5))
        yield from _skip(count * 6)

    def _resize(self, width: int, height: int) -> None:
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise WireError(f"the RFB server's screen of {width}x{height} is not believable")
        self.picture = Picture.black(width, height)


def _reason() -> Generator[int, bytes, str]:
    (length,) = struct.unpack(">I", (yield 4))
    _limit("reason", length, MAX_TEXT)
    return (yield length).decode(errors="replace")


def _skip(length: int) -> _Reading:
    while length > 0:
        length -= len((yield min(length, 1 << 16)))


def _limit(what: str, value: int, most: int) -> None:
    if value > most:
        raise WireError(f"the RFB server's {what} of {value} is over the limit of {most}")


_NAMED = {
    "backspace": 0xFF08, "tab": 0xFF09, "return": 0xFF0D, "enter": 0xFF0D, "escape": 0xFF1B,
    "home": 0xFF50, "left": 0xFF51, "up": 0xFF52, "right": 0xFF53, "down": 0xFF54, "end": 0xFF57,
    "delete": 0xFFFF, "shift": 0xFFE1, "ctrl": 0xFFE3, "alt": 0xFFE9, "super": 0xFFEB,
    **{f"f{number}": 0xFFBD + number for number in range(1, 13)},
}  # fmt: skip


def named_keysym(name: str) -> int:
    """The X keysym of a named key (`ctrl`, `Return`, `F5`) or a single character."""
    if len(name) == 1:
        return keysyms_of(name)[0]
    try:
        return _NAMED[name.lower()]
    except KeyError as error:
        raise WireError(f"no key is called {name!r}", hint=f"keys: {', '.join(_NAMED)}") from error


def keysyms_of(text: str) -> list[int]:
    """X keysyms of characters: Latin-1 is itself, else Unicode + 0x01000000 (X11 protocol, appendix A)."""
    plain = {"\n": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08}
    return [
        plain.get(character) or (ord(character) if ord(character) < 0x100 else 0x01000000 | ord(character))
        for character in text
    ]
