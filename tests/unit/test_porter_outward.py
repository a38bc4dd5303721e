"""A desktop's words without its clipboard: everything else comes through whole, however it is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.model.clipboard import Way
from oriel.model.errors import ForbiddenError, WireError
from oriel.porter.outward import Outward, plain_encodings
from oriel.porter.rfb import NoHands, RfbGuard

FORM = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
HELLO = (
    b"RFB 003.008\n\x01\x01" + bytes(4) + struct.pack(">HH", 64, 48) + FORM + struct.pack(">I", 4) + b"desk"
)


def rectangle(width: int, height: int, encoding: int, body: bytes) -> bytes:
    return struct.pack(">HHHHi", 1, 2, width, height, encoding) + body


def update(*rectangles: bytes, count: int | None = None) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles) if count is None else count) + b"".join(rectangles)


PASSED = (
    update(rectangle(3, 2, 0, bytes(range(24)))),
    update(rectangle(8, 8, 16, struct.pack(">I", 5) + b"\x03\x00\x00\x00\x01")),
    update(rectangle(8, 8, 6, struct.pack(">I", 3) + b"\x03\x03\x03"), rectangle(4, 4, 1, b"\0\1\0\2")),
    update(rectangle(9, 2, -239, bytes(9 * 2 * 4 + 2 * 2))),
    update(rectangle(800, 600, -223, b""), rectangle(800, 600, -308, b"\x01\0\0\0" + bytes(16))),
    update(rectangle(0, 0, -307, struct.pack(">I", 3) + b"\x03\x03\x03")),
    update(rectangle(1, 1, 0, b"\x03\x03\x03\x03"), rectangle(0, 0, -224, b""), count=0xFFFF),
    update(),
    struct.pack(">BxHH", 1, 0, 2) + bytes(12),
    b"\x02",
)
DROPPED = (
    struct.pack(">Bxxxi", 3, 6) + b"secret",
    struct.pack(">Bxxxi", 3, 0),
    struct.pack(">Bxxxi", 3, -10) + b"\0\0\0\x01\x03\x03\x03\x03\x03\x03",
    struct.pack(">Bxxxi", 3, 300) + b"\x03" * 300,
)


@given(st.lists(st.sampled_from(PASSED + DROPPED), max_size=20), st.data())
def test_everything_but_the_clipboard_passes_however_it_is_cut(
    said: list[bytes], data: st.DataObject
) -> None:
    stream = HELLO + b"".join(said)
    outward, passed, at = Outward(), b"", 0
    while at < len(stream):
        size = data.draw(st.integers(1, 60))
        passed += outward.feed(stream[at : at + size])
        at += size
    assert passed == HELLO + b"".join(one for one in said if one in PASSED)


@pytest.mark.parametrize(
    "said",
    [
        b"\x07", b"\xfa\x01\x00\x00", update(rectangle(1, 1, 7, b"\x80\0\0\0")),
        update(rectangle(1, 1, 5, b"")), struct.pack(">Bxxxi", 3, 1 << 30),
        update(rectangle(65535, 65535, 0, b"")),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_ends_it(said: bytes) -> None:
    outward = Outward()
    outward.feed(HELLO)
    with pytest.raises(WireError):
        outward.feed(said)


def test_a_picture_of_any_size_is_never_kept() -> None:
    outward = Outward()
    outward.feed(HELLO)
    outward.feed(update(rectangle(16384, 16384, 0, b"")))
    piece = bytes(1 << 16)
    assert all(outward.feed(piece) == piece for _ in range(200))
    assert len(outward._held) == 0


def test_a_viewer_asks_only_for_what_can_be_followed() -> None:
    wanted = (1, 7, -260, 16, 21, 5, 2, 6, 0, -26, -254, -239, -223, -308, -312, -313, -258, -1063131698)
    told = plain_encodings(struct.pack(f">BxH{len(wanted)}i", 2, len(wanted), *wanted))
    count = struct.unpack_from(">H", told, 2)[0]
    assert struct.unpack(f">BxH{count}i", told)[2:] == (1, 16, 6, 0, -26, -254, -239, -223, -308)


ENCODINGS = struct.pack(">BxH3i", 2, 3, 7, 16, -239)
CUT = struct.pack(">Bxxxi", 6, 5) + b"text!"
ASK = struct.pack(">BBHHHH", 3, 1, 0, 0, 9, 9)
VIEWER = b"RFB 003.008\n\x01\x01"


class Hands(NoHands):
    def drive(self) -> bool:
        return True

    move = drive


@pytest.mark.parametrize("way", Way)
def test_each_way_lets_just_its_own_through(way: Way) -> None:
    guard = RfbGuard(Hands(), way)
    passed = guard.feed(VIEWER + ENCODINGS + ASK + CUT)
    assert (CUT in passed) is way.takes
    assert passed.endswith(ASK + CUT if way.takes else ASK)
    assert (ENCODINGS in passed) is way.gives
    told = bytes(guard.told(memoryview(HELLO + DROPPED[0] + PASSED[0])))
    assert (b"secret" in told) is way.gives
    assert told.endswith(PASSED[0])


def test_pixels_keep_their_form_where_their_length_must_be_known() -> None:
    change = b"\0\0\0\0" + struct.pack(">BBBBHHHBBBxxx", 16, 16, 0, 1, 31, 63, 31, 11, 5, 0)
    guard = RfbGuard(Hands(), Way.IN)
    assert guard.feed(VIEWER + change).endswith(change)
    assert (
        bytes(guard.told(memoryview(HELLO + update(rectangle(3, 2, 0, bytes(12))) + DROPPED[0] + b"\x02")))[
            -1:
        ]
        == b"\x02"
    )
    guard.feed(ASK)
    with pytest.raises(ForbiddenError):
        guard.feed(change)
    with pytest.raises(WireError, match=r"3\.8"):
        RfbGuard(Hands(), Way.OFF).feed(b"RFB 003.007\n")
