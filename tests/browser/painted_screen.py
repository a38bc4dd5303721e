"""A desktop's screen without a desktop: two painted windows, shown by RFB 3.8, that notes what is typed.

It stands for x11vnc. Every key pressed paints one more cell of the terminal: a viewer sees its typing.
"""

from __future__ import annotations

import asyncio
import struct

from oriel.model import wire

__all__ = ["PaintedScreen"]

WALLPAPER, PANEL = (0x6E, 0x5A, 0x38), (0x2B, 0x26, 0x22)
TERMINAL, TERMINAL_BAR, TERMINAL_TEXT = (0x1C, 0x17, 0x14), (0x46, 0x3D, 0x38), (0x8E, 0xD6, 0x86)
PAPER, TABS, ADDRESS, PRINT = (0xFF, 0xFF, 0xFF), (0xE8, 0xE1, 0xDC), (0xF4, 0xF0, 0xEE), (0xA8, 0x9C, 0x94)
LINK = (0xD0, 0x6A, 0x3A)
COLUMNS, CELL_WIDTH, CELL_HEIGHT = 58, 10, 20
TYPED_AT = (40, 420)


class PaintedScreen:
    """`keys`, `pointer` and `clipboard` are what viewers have sent, in order; `name` is the server's name."""

    def __init__(self, width: int = 1280, height: int = 720, name: str = "desktop") -> None:
        self.width, self.height, self.name = width, height, name
        self.keys: list[tuple[int, bool]] = []
        self.pointer: list[tuple[int, int, int]] = []
        self.clipboard: list[str] = []
        self.viewers: set[Viewer] = set()
        self.pixels = bytearray(width * height * 4)  # BGRX, like the agent's screenshot
        self._paint()

    @property
    def stride(self) -> int:
        return self.width * 4

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One viewer, until it leaves or is cut off."""
        viewer = Viewer(self, reader, writer)
        self.viewers.add(viewer)
        try:
            await viewer.run()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it left
        finally:
            self.viewers.discard(viewer)
            await wire.close(writer)

    def cut(self) -> None:
        """Break every viewer's connection, as a crash would."""
        for viewer in self.viewers:
            viewer.writer.transport.abort()

    def copy(self, text: str) -> None:
        """Something is copied inside the desktop."""
        data = text.encode("latin-1")
        for viewer in self.viewers:
            viewer.writer.write(struct.pack(">BxxxI", 3, len(data)) + data)

    def key(self, keysym: int, down: bool) -> None:
        self.keys.append((keysym, down))
        if down:
            row, column = divmod(sum(pressed for _, pressed in self.keys) - 1, COLUMNS)
            x, y = TYPED_AT[0] + column * CELL_WIDTH, TYPED_AT[1] + row % 10 * CELL_HEIGHT
            self.fill(x, y, CELL_WIDTH - 2, CELL_HEIGHT - 6, TERMINAL_TEXT)
            for viewer in self.viewers:
                viewer.changed.set()

    def fill(self, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
        line = bytes((*colour, 0)) * max(0, min(width, self.width - x))
        for row in range(y, min(y + height, self.height)):
            start = row * self.stride + x * 4
            self.pixels[start : start + len(line)] = line

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


class Viewer:
    """One RFB connection (RFC 6143). Raw encoding, 32 bits per pixel, byte-aligned colours."""

    def __init__(
        self, screen: PaintedScreen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.screen, self.reader, self.writer = screen, reader, writer
        self.changed = asyncio.Event()
        self.shifts = (16, 8, 0)  # red, green, blue, as the pixels lie

    async def run(self) -> None:
        await self._greet()
        async with asyncio.TaskGroup() as group:
            updates = group.create_task(self._update_forever())
            try:
                while kind := await self.reader.readexactly(1):
                    await self._take(kind[0])
            finally:
                updates.cancel()

    async def _greet(self) -> None:
        self.writer.write(b"RFB 003.008\n")
        await self.reader.readexactly(12)
        self.writer.write(b"\x01\x01")  # one security type: None
        await self.reader.readexactly(1)
        self.writer.write(struct.pack(">I", 0))
        await self.reader.readexactly(1)
        name = self.screen.name.encode()
        pixel_format = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, *self.shifts)
        head = struct.pack(">HH", self.screen.width, self.screen.height)
        self.writer.write(head + pixel_format + struct.pack(">I", len(name)) + name)
        await self.writer.drain()

    async def _take(self, kind: int) -> None:
        screen, read = self.screen, self.reader.readexactly
        if kind == 0:
            bits, *_, red, green, blue = struct.unpack(">xxxBBBBHHHBBBxxx", await read(19))
            assert bits == 32, f"{bits} bits per pixel are not painted here"
            self.shifts = (red, green, blue)
        elif kind == 2:
            await read(4 * struct.unpack(">xH", await read(3))[0])
        elif kind == 3:
            incremental = (await read(9))[0]
            if not incremental:
                self.changed.set()
        elif kind == 4:
            down, keysym = struct.unpack(">BxxI", await read(7))
            screen.key(keysym, bool(down))
        elif kind == 5:
            screen.pointer.append(struct.unpack(">BHH", await read(5)))
        elif kind == 6:
            (length,) = struct.unpack(">xxxI", await read(7))
            screen.clipboard.append((await read(length)).decode("latin-1"))
        else:
            raise ConnectionError(f"a viewer sent message type {kind}")

    async def _update_forever(self) -> None:
        while True:
            await self.changed.wait()
            self.changed.clear()
            head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, self.screen.width, self.screen.height, 0)
            self.writer.write(head + self._in_its_format())
            await self.writer.drain()

    def _in_its_format(self) -> bytes:
        pixels = self.screen.pixels
        out = bytearray(len(pixels))
        for shift, own in zip(self.shifts, (2, 1, 0), strict=True):
            out[shift // 8 :: 4] = pixels[own::4]
        return bytes(out)
