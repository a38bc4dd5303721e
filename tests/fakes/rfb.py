"""A screen without a machine: an RFB 3.8 server (RFC 6143) that notes what viewers do, and its picture."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

WIDTH, HEIGHT = 1280, 720
CLIENT_LENGTHS = {0: 20, 3: 10, 4: 8, 5: 6, 150: 10}


@dataclass
class FakeScreen:
    """What is on it, and what was done to it: `("key", keysym, down)`, `("pointer", x, y, buttons)`,
    `("cut", text)`. Every key and click paints, so that viewers see that something happened."""

    width: int = WIDTH
    height: int = HEIGHT
    done: list[tuple] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    pixels: bytearray = field(default_factory=bytearray)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    version: int = 1

    def __post_init__(self) -> None:
        if not self.pixels:
            self.pixels = bytearray(paint(self.width, self.height))

    async def note(self, what: tuple) -> None:
        self.done.append(what)
        if what[0] in ("key", "pointer", "text", "button"):
            block = (len(self.done) * 16) % (self.width - 16)
            colour = bytes(((len(self.done) * 40) % 256, 120, 220, 0)) * 16
            for row in range(40, 56):
                start = (row * self.width + block) * 4
                self.pixels[start : start + 64] = colour
            async with self.changed:
                self.version += 1
                self.changed.notify_all()


def paint(width: int, height: int) -> bytes:
    """A light ground with two windows: a dark one left, a white one right; BGRX."""
    ground, dark, white, bar = b"\x60\x50\x40\0", b"\x20\x18\x18\0", b"\xff\xff\xff\0", b"\xd0\xc8\xc0\0"
    plain = ground * width
    half = width // 2 - 30
    titled = ground * 20 + bar * half + ground * 20 + bar * half + ground * (width - 40 - 2 * half)
    both = ground * 20 + dark * half + ground * 20 + white * half + ground * (width - 40 - 2 * half)
    rows = [plain] * 30 + [titled] * 24 + [both] * (height - 84) + [plain] * 30
    return b"".join(rows[:height])


async def serve_rfb(screen: FakeScreen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One viewer, until it leaves."""
    writer.write(b"RFB 003.008\n")
    assert await reader.readexactly(12) == b"RFB 003.008\n"
    writer.write(b"\x01\x01")
    assert await reader.readexactly(1) == b"\x01"
    writer.write(struct.pack(">I", 0))
    screen.shared.append((await reader.readexactly(1))[0])
    name = b"fake desktop"
    form = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    writer.write(struct.pack(">HH", screen.width, screen.height) + form + struct.pack(">I", len(name)) + name)
    wanted = Wanted()
    painter = asyncio.create_task(_paint(screen, writer, wanted))
    try:
        while True:
            await _message(screen, reader, wanted)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        painter.cancel()
        await asyncio.gather(painter, return_exceptions=True)


@dataclass
class Wanted:
    """The update requests not answered yet: `at_once` is one that is not incremental."""

    at_once: bool = False
    when_changed: bool = False


async def _message(screen: FakeScreen, reader: asyncio.StreamReader, wanted: Wanted) -> None:
    kind = (await reader.readexactly(1))[0]
    if kind == 2:
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
        writer.write(head + bytes(screen.pixels))
        await writer.drain()
