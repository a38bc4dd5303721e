"""The RFB reader: hand-made bytes, every way of cutting them, and servers that lie."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.client.picture import Area
from oriel.client.rfb import Bell, CutText, Session, Update, keysyms_of, named_keysym
from oriel.model.errors import WireError
from tests.unit import rfb_server as server

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def connect(width: int = 8, height: int = 6) -> Session:
    session = Session()
    session.receive(server.connected(width, height))
    session.outgoing.clear()
    return session


def pixel(session: Session, x: int, y: int) -> tuple[int, int, int]:
    assert session.picture
    [(colour, _)] = session.picture.crop(Area(x, y, 1, 1)).colours().most_common()
    return colour


def test_handshake_answers_in_turn() -> None:
    session = Session()
    session.receive(server.GREETING)
    assert bytes(session.outgoing) == b"RFB 003.008\n"
    session.outgoing.clear()
    session.receive(server.SECURITY)
    assert bytes(session.outgoing) == b"\x01", "security type none is chosen"
    session.outgoing.clear()
    session.receive(server.SECURITY_OK)
    assert bytes(session.outgoing) == b"\x01", "the desktop is shared: nobody else is thrown out"
    session.outgoing.clear()
    session.receive(server.server_init(1280, 720, b"user's desktop"))
    assert (session.name, session.picture and session.picture.area) == (
        "user's desktop",
        Area(0, 0, 1280, 720),
    )
    set_format, set_encodings = bytes(session.outgoing[:20]), bytes(session.outgoing[20:])
    assert set_format == bytes.fromhex("00000000 20180001 00ff00ff00ff 100800 000000")
    assert struct.unpack(">BxH4i", set_encodings) == (2, 4, 0, 1, -223, -239)


def test_raw_and_copy_paint_the_picture() -> None:
    session = connect()
    messages = session.receive(
        server.update(server.raw(Area(0, 0, 8, 6), *RED), server.raw(Area(1, 1, 2, 2), *GREEN))
    )
    assert messages == [Update((Area(0, 0, 8, 6), Area(1, 1, 2, 2)), resized=False)]
    assert (pixel(session, 0, 0), pixel(session, 2, 2), pixel(session, 3, 3)) == (RED, GREEN, RED)
    session.receive(server.update(server.copy(Area(5, 3, 2, 2), 1, 1)))
    assert (pixel(session, 5, 3), pixel(session, 6, 4), pixel(session, 7, 5)) == (GREEN, GREEN, RED)


def test_copy_onto_itself_reads_before_it_writes() -> None:
    session = connect()
    session.receive(server.update(server.raw(Area(0, 0, 1, 1), *BLUE), server.raw(Area(1, 0, 1, 1), *RED)))
    session.receive(server.update(server.copy(Area(1, 0, 2, 1), 0, 0)))
    assert [pixel(session, x, 0) for x in range(3)] == [BLUE, BLUE, RED]


def test_cursor_is_passed_over_and_a_new_size_starts_black() -> None:
    session = connect()
    session.receive(server.update(server.raw(Area(0, 0, 8, 6), *RED)))
    messages = session.receive(server.update(server.cursor(9, 3), server.resized(16, 4)))
    assert messages == [Update((), resized=True)]
    assert session.picture
    assert session.picture.area == Area(0, 0, 16, 4)
    assert pixel(session, 15, 3) == (0, 0, 0)


def test_clipboard_bell_and_colour_map() -> None:
    session = connect()
    colour_map = struct.pack(">BxHH", 1, 0, 2) + bytes(12)
    messages = session.receive(colour_map + b"\x02" + server.cut_text("grüß".encode("latin-1")))
    assert messages == [Bell(), CutText("grüß")]


def test_input_and_requests_are_written_as_the_standard_has_them() -> None:
    session = connect()
    session.key(0xFF0D, down=True)
    session.key(0xFF0D, down=False)
    session.pointer(300, 7, buttons=1)
    session.request_update(incremental=True)
    session.request_update(incremental=False, area=Area(1, 2, 3, 4))
    assert bytes(session.outgoing) == bytes.fromhex(
        "0401 0000 0000ff0d 0400 0000 0000ff0d 0501 012c 0007"
        "0301 0000 0000 0008 0006 0300 0001 0002 0003 0004"
    )


def test_nothing_is_sent_before_the_handshake_is_done() -> None:
    session = Session()
    with pytest.raises(WireError, match="not established"):
        session.key(0x61, down=True)
    assert not session.outgoing


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"RFB 003.003\n", "version 3.8"),
        (b"SSH-2.0-Open\n", "version 3.8"),
        (server.GREETING + b"\0" + struct.pack(">I", 4) + b"full", "refuses: full"),
        (server.GREETING + b"\x01\x02", "wants authentication"),
        (server.GREETING + server.SECURITY + b"\0\0\0\1" + struct.pack(">I", 3) + b"no!", "refuses: no!"),
        (server.connected(0, 720), "not believable"),
        (server.connected(65535, 65535), "not believable"),
        (server.connected(8, 6) + b"\x63", "unknown type 99"),
        (server.connected(8, 6) + server.update(server.raw(Area(7, 0, 2, 1), *RED)), "outside its screen"),
        (server.connected(8, 6) + server.update(server.copy(Area(0, 0, 2, 1), 7, 0)), "from outside"),
        (server.connected(8, 6) + server.update(server.rectangle(Area(0, 0, 1, 1), 16)), "not offered"),
        (server.connected(8, 6) + struct.pack(">B3xI", 3, 1 << 31), "over the limit"),
        (server.connected(8, 6) + server.update(server.rectangle(Area(0, 0, 60000, 9), -239)), "cursor"),
    ],
)  # fmt: skip
def test_a_server_that_lies_is_refused(sent: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        Session().receive(sent)


@given(st.data())
def test_however_it_is_cut_it_means_the_same(data: st.DataObject) -> None:
    screen, corner = Area(0, 0, 8, 6), Area(0, 0, 2, 2)
    stream = (
        server.connected(8, 6)
        + server.update(server.raw(screen, *RED), server.cursor(3, 2), server.copy(corner, 3, 3))
        + server.cut_text(b"hello")
        + server.update(server.resized(4, 4), server.raw(Area(0, 0, 4, 4), *BLUE))
    )  # fmt: skip
    whole, cut = Session(), Session()
    expected = whole.receive(stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=40)))
    seen = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += cut.receive(stream[start:end])
    assert seen == expected
    assert cut.picture == whole.picture
    assert cut.outgoing == whole.outgoing


@given(st.binary(max_size=4000), st.booleans())
def test_garbage_is_refused_or_waited_for_and_nothing_else(garbage: bytes, after_handshake: bool) -> None:
    session = connect() if after_handshake else Session()
    with contextlib.suppress(WireError):
        session.receive(garbage)
    picture = session.picture
    assert picture is None or len(picture.pixels) == picture.width * picture.height * 4


@given(st.lists(st.integers(0, 255), min_size=30, max_size=30), st.integers(0, 70))
def test_a_damaged_update_never_tears_the_picture(noise: list[int], at: int) -> None:
    message = bytearray(
        server.update(server.raw(Area(2, 2, 3, 3), *GREEN), server.copy(Area(0, 0, 2, 2), 3, 3))
    )
    message[at : at + 30] = bytes(noise)
    session = connect()
    with contextlib.suppress(WireError):
        session.receive(bytes(message))
    assert session.picture
    assert len(session.picture.pixels) == session.picture.width * session.picture.height * 4


def test_keysyms() -> None:
    assert keysyms_of("aA>\n") == [0x61, 0x41, 0x3E, 0xFF0D]
    assert keysyms_of("é€") == [0xE9, 0x010020AC]
    assert [named_keysym(name) for name in ("ctrl", "Return", "F5", "l")] == [0xFFE3, 0xFF0D, 0xFFC2, 0x6C]
    with pytest.raises(WireError, match="no key is called 'hyper'") as raised:
        named_keysym("hyper")
    assert "escape" in raised.value.hint
