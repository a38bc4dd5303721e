"""Pictures of a screen: raw BGRX to PNG, and halved for a still. Pure; run it in a thread.

Everything is done by whole rows and slices, which Python does in C; a loop over pixels never runs.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

__all__ = ["Image", "encode_png", "from_bgrx", "shrink"]

STILL_WIDTH = 480
MAX_SIDE = 16384


@dataclass(frozen=True)
class Image:
    """Three planes (red, green, blue), one byte a pixel, rows without padding."""

    width: int
    height: int
    planes: tuple[bytes, bytes, bytes]


def from_bgrx(data: bytes, width: int, height: int, stride: int) -> Image:
    """A screen as its guest sends it. ValueError if the sizes do not fit each other."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and stride >= 4 * width):
        raise ValueError("impossible size of a screen")
    if len(data) != stride * height:
        raise ValueError("the screen's bytes do not fit its size")
    if stride != 4 * width:
        data = b"".join(data[row * stride : row * stride + 4 * width] for row in range(height))
    return Image(width, height, (data[2::4], data[1::4], data[0::4]))


def shrink(image: Image, width: int = STILL_WIDTH) -> Image:
    """Halved, by averages, until no wider than `width`."""
    while image.width > width and image.height >= 2:
        image = _halved(image)
    return image


def encode_png(image: Image, *, level: int = 6) -> bytes:
    """8-bit RGB, each row filtered by the one above it (PNG 1.2, section 6)."""
    row_bytes = 3 * image.width
    pixels = bytearray(row_bytes * image.height)
    for offset, plane in enumerate(image.planes):
        pixels[offset::3] = plane
    above = bytes(row_bytes) + bytes(pixels[:-row_bytes])
    filtered = _difference(bytes(pixels), above)
    rows = b"".join(
        b"\x02" + filtered[start : start + row_bytes] for start in range(0, len(filtered), row_bytes)
    )
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body)
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, level)), (b"IEND", b""))
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _halved(image: Image) -> Image:
    width, height = image.width // 2, image.height // 2
    planes = []
    for plane in image.planes:
        even = b"".join(
            plane[row * image.width : row * image.width + 2 * width] for row in range(0, 2 * height, 2)
        )
        odd = b"".join(
            plane[row * image.width : row * image.width + 2 * width] for row in range(1, 2 * height, 2)
        )
        rows = _average(even, odd)
        planes.append(_average(rows[0::2], rows[1::2]))
    return Image(width, height, (planes[0], planes[1], planes[2]))


def _average(left: bytes, right: bytes) -> bytes:
    """Bytewise mean, on all bytes at once: (a & b) + ((a ^ b) >> 1), without bits that cross bytes."""
    size = len(left)
    one, other = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    mask = int.from_bytes(b"\x7f" * size, "little")
    return ((one & other) + (((one ^ other) >> 1) & mask)).to_bytes(size, "little")


def _difference(left: bytes, right: bytes) -> bytes:
    """Bytewise left - right modulo 256, on all bytes at once: the borrow is kept inside each byte."""
    size = len(left)
    high = int.from_bytes(b"\x80" * size, "little")
    one, other = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    # Hacker's Delight, 2-18: set the high bits so nothing is borrowed, then put the right ones back.
    low = (one | high) - (other & ~high)
    return (low ^ ((one ^ other ^ high) & high)).to_bytes(size, "little")
