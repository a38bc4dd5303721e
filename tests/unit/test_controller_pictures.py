"""Screens to PNG and small, checked against a decoder and a mean of our own."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from oriel.controller.picture import Image, encode_png, from_bgrx, shrink


def decode(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height, RGB rows. Only what we write: 8-bit RGB, filter Up."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    raw, rows, above = zlib.decompress(chunks[b"IDAT"]), [], bytes(3 * width)
    for row in range(height):
        line = raw[row * (3 * width + 1) : (row + 1) * (3 * width + 1)]
        assert line[0] == 2
        above = bytes((a + b) & 255 for a, b in zip(line[1:], above, strict=True))
        rows.append(above)
    return width, height, rows


@pytest.mark.parametrize(("width", "height", "pad"), [(1, 1, 0), (7, 5, 0), (16, 9, 12)])
def test_every_pixel_survives(width: int, height: int, pad: int) -> None:
    noise = random.Random(width * height)
    pixels = [[noise.randbytes(3) for _ in range(width)] for _ in range(height)]
    bgrx = b"".join(b"".join(rgb[::-1] + b"\0" for rgb in row) + b"p" * pad for row in pixels)
    image = from_bgrx(bgrx, width, height, 4 * width + pad)
    assert decode(encode_png(image)) == (width, height, [b"".join(row) for row in pixels])


def test_shrinking_takes_means_of_four() -> None:
    noise = random.Random(4)
    plane = noise.randbytes(8 * 4)
    small = shrink(Image(8, 4, (plane, plane, plane)), width=4)
    assert (small.width, small.height) == (4, 2)
    for y in range(2):
        for x in range(4):
            four = [plane[(2 * y + dy) * 8 + 2 * x + dx] for dy in (0, 1) for dx in (0, 1)]
            # Two roundings down, one per direction.
            assert abs(small.planes[0][y * 4 + x] - sum(four) / 4) <= 1


def test_an_odd_edge_is_left_out() -> None:
    small = shrink(Image(5, 3, (bytes(15), bytes(15), bytes(15))), width=3)
    assert (small.width, small.height, len(small.planes[2])) == (2, 1, 2)


@pytest.mark.parametrize(
    ("size", "width", "height", "stride"),
    [(16, 2, 2, 7), (15, 2, 2, 8), (0, 0, 0, 0), (8, 2, -1, 8), (4, 1 << 20, 1, 4 << 20)],
)
def test_a_lying_guest_is_refused(size: int, width: int, height: int, stride: int) -> None:
    with pytest.raises(ValueError, match="screen"):
        from_bgrx(bytes(size), width, height, stride)
