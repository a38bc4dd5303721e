"""Pictures of the PNG format that come from elsewhere: looked at before anybody decodes them. Pure.

A few kilobytes may unpack to gigabytes, and chunks that no picture needs may hold anything. So the pixels are
unpacked and counted here, a piece at a time, and only what makes the picture is handed on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MOST_PIXELS", "Png", "cleaned"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_SIDE = 16384
MOST_PIXELS = 32 << 20  # four times the largest screen
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# PNG 1.2, 4.1.1: samples a pixel by colour type, and which depths it may have.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# PNG 1.2, 2.6: where each pass of an interlaced picture begins, and its steps.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PIECE = 1 << 20


@dataclass(frozen=True)
class Png:
    data: bytes
    width: int
    height: int


def cleaned(data: bytes) -> Png:
    """The same picture with nothing else in it. ValueError, saying why, if it is no sound picture."""
    if not data.startswith(SIGNATURE):
        raise ValueError("it is no PNG")
    chunks = [(kind, body) for kind, body in _chunks(data) if kind in KEPT]
    kinds = [kind for kind, _ in chunks]
    if (
        kinds[:1] != [b"IHDR"]
        or kinds.count(b"IHDR") != 1
        or kinds[-1:] != [b"IEND"]
        or len(chunks[0][1]) != 13
    ):
        raise ValueError("its parts are not in order")
    width, height, depth, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE and width * height <= MOST_PIXELS):
        raise ValueError(f"it has {width} times {height} pixels")
    if depth not in DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
        raise ValueError("its pixels are of no known form")
    bits = depth * SAMPLES[colour]
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if _unpacked(packed, _size(width, height, bits, interlaced=bool(interlace))):
        raise ValueError("its pixels are not as many as it says")
    return Png(SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks), width, height)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Up to the end; what follows is nobody's."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if at > len(data):
            break
        if struct.unpack_from(">I", data, at - 4)[0] != zlib.crc32(kind + body):
            raise ValueError("a part of it is damaged")
        if kind not in KEPT and not kind[0] & 0x20:
            raise ValueError("a part of it is unknown, and needed")
        yield kind, body
        if kind == b"IEND":
            return
    raise ValueError("it has no end")


def _size(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Bytes of all rows, each with its filter's byte."""

    def rows(wide: int, high: int) -> int:
        return high * (1 + (wide * bits + 7) // 8) if wide and high else 0

    if not interlaced:
        return rows(width, height)
    return sum(
        rows((width - x + across - 1) // across, (height - y + down - 1) // down)
        for x, y, across, down in ADAM7
        if x < width and y < height
    )


def _unpacked(packed: bytes, expected: int) -> int:
    """How many bytes there are beyond the `expected`, or too few; never kept, and never unpacked further."""
    unpacking, left = zlib.decompressobj(), expected
    try:
        while left >= 0 and not unpacking.eof:
            piece = unpacking.decompress(packed, PIECE)
            packed = unpacking.unconsumed_tail
            left -= len(piece)
            if not piece and not packed and not unpacking.eof:
                break
    except zlib.error as error:
        raise ValueError("its pixels cannot be unpacked") from error
    return left


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
