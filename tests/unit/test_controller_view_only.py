"""What a viewer that may only look gets through to the desktop: pictures yes, hands no."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.model.errors import ForbiddenError, OrielError, WireError
from oriel.porter.rfb import NoHands, RfbGuard

HELLO = b"RFB 003.008\n\x01\x01"
UPDATE = struct.pack(">BBHHHH", 3, 1, 0, 0, 1280, 720)
ENCODINGS = struct.pack(">BxH3i", 2, 3, 0, 1, -239)
FORMAT = bytes(20)
FENCE = struct.pack(">BxxxIB", 248, 1, 3) + b"abc"
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 1280, 720)
KEY = struct.pack(">BBxxI", 4, 1, 0x61)
POINTER = struct.pack(">BBHH", 5, 1, 10, 10)
CUT = struct.pack(">Bxxxi", 6, 5) + b"\x03\x04\x05\x06\x02"
EXTENDED_CUT = struct.pack(">Bxxxi", 6, -8) + b"\x04" * 8
QEMU_KEY = struct.pack(">BBHII", 255, 0, 1, 0x61, 30)
RESIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
XVP = bytes((250, 0, 1, 2))
SEEN = (UPDATE, ENCODINGS, FORMAT, FENCE, CONTINUOUS)
HANDS = (KEY, POINTER, CUT, EXTENDED_CUT, QEMU_KEY, RESIZE, XVP)


@given(st.lists(st.sampled_from(SEEN + HANDS), max_size=30), st.data())
def test_exactly_what_paints_passes_however_it_is_cut(said: list[bytes], data: st.DataObject) -> None:
    stream = HELLO + b"".join(said)
    guard, passed, at = RfbGuard(NoHands()), b"", 0
    while at < len(stream):
        size = data.draw(st.integers(1, 40))
        passed += guard.feed(stream[at : at + size])
        at += size
    assert passed == HELLO + b"".join(one for one in said if one in SEEN)


def test_it_never_claims_the_desktop_for_itself() -> None:
    assert RfbGuard(NoHands()).feed(b"RFB 003.008\n\x01\x00") == b"RFB 003.008\n\x01\x01"


class Hands:
    """Of one who drives while `on`."""

    on = True

    def drive(self) -> bool:
        return self.on

    def move(self) -> bool:
        return self.on


def test_who_drives_gets_everything_through_but_the_power_switch() -> None:
    said = b"".join(one for one in SEEN + HANDS if one is not XVP)
    guard = RfbGuard(Hands())
    assert guard.feed(HELLO + said + XVP) == HELLO + said


def test_what_is_down_is_let_go_of_when_the_lease_goes() -> None:
    hands = Hands()
    guard = RfbGuard(hands)
    guard.feed(HELLO + KEY + QEMU_KEY + POINTER)
    assert guard.holding
    hands.on = False
    up = KEY[:1] + b"\0" + KEY[2:], QEMU_KEY[:2] + b"\0\0" + QEMU_KEY[4:]
    assert guard.release() == up[1] + up[0] + struct.pack(">BBHH", 5, 0, 10, 10)
    assert not guard.holding
    assert guard.feed(KEY + POINTER) == b""
    assert guard.release() == b""


def test_a_release_passes_even_from_who_no_longer_drives_if_the_key_is_down() -> None:
    hands = Hands()
    guard = RfbGuard(hands)
    guard.feed(HELLO + KEY)
    hands.on = False
    up = KEY[:1] + b"\0" + KEY[2:]
    assert guard.feed(up) == up
    assert guard.feed(up) == b""


def test_a_long_clipboard_is_dropped_and_what_follows_is_not() -> None:
    guard = RfbGuard(Hands())
    size = (1 << 20) + 1
    assert guard.feed(HELLO + struct.pack(">Bxxxi", 6, size) + bytes(1000)) == HELLO
    assert guard.feed(bytes(size - 1000) + KEY) == KEY


@pytest.mark.parametrize("start", [b"RFB 003.003\n", b"GET / HTTP/1", b"RFB 003.008\n\x02"])
def test_what_cannot_be_followed_is_refused(start: bytes) -> None:
    with pytest.raises(WireError):
        RfbGuard(NoHands()).feed(start)


@pytest.mark.parametrize(
    "message",
    [b"\x07", b"\xfe\x00", b"\xff\x01", struct.pack(">BxH", 2, 65535), b"\xf8" + bytes(7) + b"\xff"],
)
def test_what_is_unknown_or_too_long_is_refused(message: bytes) -> None:
    with pytest.raises(ForbiddenError):
        RfbGuard(NoHands()).feed(HELLO + message)


def test_a_huge_clipboard_costs_no_memory() -> None:
    guard = RfbGuard(NoHands())
    guard.feed(HELLO + struct.pack(">Bxxxi", 6, 2**31 - 1))
    for _ in range(64):
        assert guard.feed(KEY * 1000) == b""
    assert len(guard._held) == 0


@given(st.binary(max_size=300))
def test_no_bytes_break_it(noise: bytes) -> None:
    try:
        RfbGuard(NoHands()).feed(HELLO + noise)
    except OrielError:
        return
