"""A screen without a machine: two painted windows, shown by an RFB 3.8 server (RFC 6143), that notes what
viewers do. It stands for x11vnc."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

WIDTH, HEIGHT = 1280, 720
CLIENT_LENGTHS = {3: 10, 4: 8, 5: 6, 150: 10}
# Blue, green, red, as the pixels lie.
WALLPAPER, PANEL = (0x6E, 0x5A, 0x38), (0x2B, 0x26, 0x22)
TERMINAL, TERMINAL_BAR, TERMINAL_TEXT = (0x1C, 0x17, 0x14), (0x46, 0x3D, 0x38), (0x8E, 0xD6, 0x86)
PAPER, TABS, ADDRESS, PRINT = (0xFF, 0xFF, 0xFF), (0xE8, 0xE1, 0xDC), (0xF4, 0xF0, 0xEE), (0xA8, 0x9C, 0x94)
LINK = (0xD0, 0x6A, 0x3A)
COLUMNS, CELL_WIDTH, CELL_HEIGHT = 58, 10, 20
TYPED_AT = (40, 420)
OURS = (16, 8, 0)  # the shifts of red, green and blue


@dataclass
class FakeScreen:
    """What is on it, and what was done to it: `("key", keysym, down)`, `("pointer", x, y, buttons)`,
    `("cut", text)`. Each paints one more cell of the terminal: viewers see that it came."""

    width: int = WIDTH
    height: int = HEIGHT
    name: str = "fake desktop"
    done: list[tuple] = field(default_factory=list)
    # The same by kind.
    keys: list[tuple[int, bool]] = field(default_factory=list)
    pointer: list[tuple[int, int, int]] = field(default_factory=list)  # buttons first, as on the wire
    clipboard: list[str] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    version: int = 1
    viewers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pixels = bytearray(self.width * self.height * 4)  # BGRX, like the agent's screenshot
        self._paint()

    async def note(self, what: tuple) -> None:
        self.done.append(what)
        match what:
            case ("key", keysym, down):
                self.keys.append((keysym, down))
            case ("pointer", x, y, buttons):
                self.pointer.append((buttons, x, y))
            case ("cut", text):
                self.clipboard.append(text)
        row, column = divmod(len(self.done) - 1, COLUMNS)
        x, y = TYPED_AT[0] + column * CELL_WIDTH, TYPED_AT[1] + row % 10 * CELL_HEIGHT
        self.fill(x, y, CELL_WIDTH - 2, CELL_HEIGHT - 6, TERMINAL_TEXT)
        async with self.changed:
            self.version += 1
            self.changed.notify_all()

    def cut(self) -> None:
        """Break every viewer's connection, as a crash would."""
        for writer in self.viewers:
            writer.transport.abort()

    def copy(self, text: str) -> None:
        """Something is copied inside the desktop."""
        data = text.encode("latin-1")
        for writer in self.viewers:
            writer.write(struct.pack(">BxxxI", 3, len(data)) + data)

    def fill(self, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
        line = bytes((*colour, 0)) * max(0, min(width, self.width - x))
        for row in range(y, min(y + height, self.height)):
            start = (row * self.width + x) * 4
            self.pixels[start : start + len(line)] = line

    def picture(self, shifts: tuple[int, int, int]) -> bytes:
        """The pixels with red, green and blue where a viewer wants them."""
        if shifts == OURS:
            return bytes(self.pixels)
        out = bytearray(len(self.pixels))
        for shift, own in zip(shifts, OURS, strict=True):
            out[shift // 8 :: 4] = self.pixels[own // 8 :: 4]
        return bytes(out)

    def _paint(self) -> None:
        self.fill(0, 0, self.width, self.height, WALLPAPER)
        self.fill(0, 0, self.width, 28, PANEL)
        self.fill(20, 52, 610, 620, TERMINAL)
        self.fill(20, 52, 610, 28, TERMINAL_BAR)
        for line in range(15):
            self.fill(40, 96 + line * 20, 60 + line * 137 % 420, 9, TERMINAL_TEXT)
        self.fill(650, 52, 610, 620, PAPER)
        self.fill(650, 52, 610, 32, TABS)
        self.fill(650, 84, 610, 36, ADDRESS)
        self.fill(690, 160, 320, 26, LINK)
        for line in range(16):
            self.fill(690, 220 + line * 26, 300 + line * 89 % 230, 9, PRINT)


async def serve_rfb(screen: FakeScreen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One viewer, until it leaves or is cut off."""
    screen.viewers.add(writer)
    try:
        await _greet(screen, reader, writer)
        wanted = Wanted()
        painter = asyncio.create_task(_paint(screen, writer, wanted))
        try:
            while True:
                await _message(screen, reader, wanted)
        finally:
            painter.cancel()
            await asyncio.gather(painter, return_exceptions=True)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        screen.viewers.discard(writer)


async def _greet(screen: FakeScreen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"RFB 003.008\n")
    assert await reader.readexactly(12) == b"RFB 003.008\n"
    writer.write(b"\x01\x01")
    assert await reader.readexactly(1) == b"\x01"
    writer.write(struct.pack(">I", 0))
    screen.shared.append((await reader.readexactly(1))[0])
    name = screen.name.encode()
    form = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, *OURS)
    writer.write(struct.pack(">HH", screen.width, screen.height) + form + struct.pack(">I", len(name)) + name)
    await writer.drain()


@dataclass
class Wanted:
    """The update requests not answered yet: `at_once` is one that is not incremental."""

    at_once: bool = False
    when_changed: bool = False
    shifts: tuple[int, int, int] = OURS


async def _message(screen: FakeScreen, reader: asyncio.StreamReader, wanted: Wanted) -> None:
    kind = (await reader.readexactly(1))[0]
    if kind == 0:
        form = struct.unpack(">xxxBBBBHHHBBBxxx", await reader.readexactly(19))
        assert form[0] == 32, f"{form[0]} bits per pixel are not painted here"
        wanted.shifts = form[-3:]
    elif kind == 2:
        _, count = struct.unpack(">BH", await reader.readexactly(3))
        await reader.readexactly(4 * count)
    elif kind == 6:
        length = struct.unpack(">3xi", await reader.readexactly(7))[0]
        await screen.note(("cut", (await reader.readexactly(abs(length))).decode("latin-1")))
    elif kind == 248:
        head = await reader.readexactly(8)
        await reader.readexactly(head[7])
    else:
        body = await reader.readexactly(CLIENT_LENGTHS[kind] - 1)
        if kind == 3:
            async with screen.changed:
                wanted.when_changed |= bool(body[0])
                wanted.at_once |= not body[0]
                screen.changed.notify_all()
        elif kind == 4:
            await screen.note(("key", struct.unpack(">I", body[3:])[0], bool(body[0])))
        elif kind == 5:
            buttons, x, y = struct.unpack(">BHH", body)
            await screen.note(("pointer", x, y, buttons))


async def _paint(screen: FakeScreen, writer: asyncio.StreamWriter, wanted: Wanted) -> None:
    """A whole raw picture for each request; for an incremental one only once something has changed."""
    sent = 0
    while True:
        async with screen.changed:
            await screen.changed.wait_for(
                lambda: wanted.at_once or (wanted.when_changed and screen.version > sent)  # noqa: B023 - the latest
            )
            wanted.at_once = wanted.when_changed = False
        sent = screen.version
        head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, screen.width, screen.height, 0)
        writer.write(head + screen.picture(wanted.shifts))
        await writer.drain()
