"""What an RFB server writes, byte by byte, for the tests of our viewer's reader."""

from __future__ import annotations

import struct

from oriel.client.picture import Area

GREETING = b"RFB 003.008\n"
SECURITY = b"\x01\x01"  # one type: none
SECURITY_OK = b"\0\0\0\0"


def server_init(width: int, height: int, name: bytes = b"desktop") -> bytes:
    pixel_format = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    return struct.pack(">HH", width, height) + pixel_format + struct.pack(">I", len(name)) + name


def connected(width: int, height: int) -> bytes:
    return GREETING + SECURITY + SECURITY_OK + server_init(width, height)


def update(*rectangles: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


def rectangle(area: Area, encoding: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHHi", area.x, area.y, area.width, area.height, encoding) + payload


def raw(area: Area, red: int, green: int, blue: int) -> bytes:
    return rectangle(area, 0, bytes((blue, green, red, 0)) * area.pixels)


def copy(area: Area, x: int, y: int) -> bytes:
    return rectangle(area, 1, struct.pack(">HH", x, y))


def cursor(width: int, height: int) -> bytes:
    payload = b"\x7f" * (width * height * 4 + (width + 7) // 8 * height)
    return rectangle(Area(0, 0, width, height), -239, payload)


def resized(width: int, height: int) -> bytes:
    return rectangle(Area(0, 0, width, height), -223)


def cut_text(text: bytes) -> bytes:
    return struct.pack(">B3xI", 3, len(text)) + text
