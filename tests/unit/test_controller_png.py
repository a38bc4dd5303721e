"""Pictures from elsewhere: a sound one comes through as it was, whatever else is refused or left out."""

from __future__ import annotations

import random
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.controller.picture import encode_png, from_bgrx
from oriel.controller.png import SIGNATURE, cleaned

PICTURE = encode_png(from_bgrx(random.Random(1).randbytes(40 * 30 * 4), 40, 30, 160))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 2, interlace: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_a_sound_picture_is_not_changed() -> None:
    found = cleaned(PICTURE)
    assert (found.data, found.width, found.height) == (PICTURE, 40, 30)


@pytest.mark.parametrize(
    ("depth", "colour", "interlace", "size"),
    [
        (1, 0, 0, 5 * (1 + 1)), (16, 6, 0, 5 * (1 + 56)), (8, 3, 0, 5 * (1 + 7)),
        # 7 by 5, one byte a pixel, in seven passes: 1, 1, 2, 4+4, …
        (8, 0, 1, (1 + 1) + (1 + 1) + (1 + 2) + 2 * (1 + 2) + (1 + 4) + 3 * (1 + 3) + 2 * (1 + 7)),
    ],
)  # fmt: skip
def test_every_form_of_pixels_is_counted(depth: int, colour: int, interlace: int, size: int) -> None:
    for extra in (-1, 0, 1):
        given = png(7, 5, bytes(size + extra), depth=depth, colour=colour, interlace=interlace)
        if extra:
            with pytest.raises(ValueError, match="not as many"):
                cleaned(given)
        else:
            assert cleaned(given).data == given


def test_what_makes_no_picture_is_left_out() -> None:
    head, rest = PICTURE[:33], PICTURE[33:]
    text = chunk(b"tEXt", b"Comment\0<script>alert(1)</script>") + chunk(
        b"iCCP", b"x\0\0" + zlib.compress(bytes(9))
    )
    assert cleaned(head + text + rest + b"<script>trailing</script>").data == PICTURE


def test_a_bomb_is_refused_at_once_and_never_unpacked() -> None:
    began = time.process_time()
    bomb = zlib.compress(bytes(96 << 20), 6)
    spent = time.process_time() - began
    head = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    given = SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    began = time.process_time()
    with pytest.raises(ValueError, match="not as many"):
        cleaned(given)
    assert time.process_time() - began < spent
    for width, height in ((100_000, 100_000), (16384, 16384), (0, 1), (1, 0xFFFF_FFFF)):
        with pytest.raises(ValueError, match="pixels"):
            cleaned(png(width, height, b""))


@pytest.mark.parametrize(
    "given",
    [
        b"", SIGNATURE, b"GIF89a" + PICTURE[6:], PICTURE[:-4], PICTURE[:-1] + b"x",
        SIGNATURE + chunk(b"IDAT", b"") + PICTURE[8:], SIGNATURE + PICTURE[8:33] + PICTURE[8:],
        PICTURE[:33] + chunk(b"EVIL", b"") + PICTURE[33:], PICTURE[:33] + b"\xff\xff\xff\xffIDAT" + bytes(9),
        png(4, 4, bytes(99), depth=3), png(4, 4, bytes(99), colour=5), png(4, 4, bytes(99), interlace=2),
    ],
)  # fmt: skip
def test_nonsense_is_refused(given: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        cleaned(given)


@given(st.integers(0, len(PICTURE) - 1), st.binary(min_size=1, max_size=8))
def test_damage_is_found_or_harmless(at: int, junk: bytes) -> None:
    try:
        found = cleaned(PICTURE[:at] + junk + PICTURE[at + len(junk) :])
    except ValueError:
        return
    assert cleaned(found.data).data == found.data
