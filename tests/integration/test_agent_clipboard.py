"""The clipboard in all its formats, with a real agent and real, odd and hostile programs at the other end."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.model.clipboard import HTML, IMAGE, MOST_BYTES, TEXT
from oriel.model.errors import InvalidError, UnavailableError
from tests.integration.agents import Guest, Screen, copy, paste, running_agent, start_screen

# A program that owns the clipboard and answers in its own way: `OWNER WAY`, says `owns` when it does.
OWNER = """
import sys, time
from Xlib import X, Xatom, display
from Xlib.protocol.event import SelectionNotify
way = sys.argv[2]
d = display.Display(sys.argv[1])
window = d.screen().root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
window.set_selection_owner(d.get_atom("CLIPBOARD"), X.CurrentTime)
d.sync()
print("owns", flush=True)
GIVEN = {
    "firefox": {"text/html": "<b>fett \\u00e4\\u65e5</b>".encode("utf-16"), "UTF8_STRING": b"fett"},
    "latin": {"STRING": "Gr\\u00fc\\u00dfe".encode("latin-1")},
    "broken": {"UTF8_STRING": b"\\xff\\xfe\\xfa broken \\x00\\x00", "text/html": b"\\xff" * 101},
}
streaming = None
while True:
    event = d.next_event()
    if way == "silent":
        continue
    if event.type == X.PropertyNotify and streaming and event.state == X.PropertyDelete:
        streaming.change_property(d.get_atom("ORIEL_CLIPBOARD"), d.get_atom("UTF8_STRING"), 8, b"x" * 200_000)
    if event.type != X.SelectionRequest:
        continue
    requestor, place, target = event.requestor, event.property, event.target
    if way == "endless":
        requestor.change_attributes(event_mask=X.PropertyChangeMask)
        streaming = requestor
        if target == d.get_atom("TARGETS"):
            requestor.change_property(place, Xatom.ATOM, 32, [d.get_atom("UTF8_STRING")])
        else:
            requestor.change_property(place, d.get_atom("INCR"), 32, [1])
    elif way == "nonsense":
        requestor.change_property(place, d.get_atom("INTEGER"), 16, [7] * 5)
    elif target == d.get_atom("TARGETS"):
        requestor.change_property(place, Xatom.ATOM, 32, [d.get_atom(name) for name in GIVEN[way]])
    else:
        name = d.get_atom_name(target)
        requestor.change_property(place, target, 8, GIVEN[way][name])
    requestor.send_event(SelectionNotify(time=event.time, requestor=requestor, selection=event.selection,
                                         target=target, property=place))
    d.flush()
"""


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    screen = start_screen("640x480")
    yield screen
    screen.stop()


@pytest.fixture(scope="module")
def guest(screen: Screen) -> Iterator[Guest]:
    with running_agent(display=screen.name) as made:
        yield made


@pytest.fixture
def owned(screen: Screen, request: pytest.FixtureRequest) -> Iterator[None]:
    """Somebody else owns the clipboard."""
    argv = [sys.executable, "-c", OWNER, screen.name, request.param]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"owns\n"
        yield
        program.kill()


def png(width: int = 2, height: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((row % 256, 80, 160)) * width for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 0))
        + chunk(b"IEND", b"")
    )


def test_an_empty_clipboard_is_empty() -> None:
    screen = start_screen("640x480")
    try:
        with running_agent(display=screen.name) as guest:
            assert paste(guest) == ({}, [])
            copy(guest, {TEXT: b""})
            assert paste(guest) == ({TEXT: b""}, [])
    finally:
        screen.stop()


def test_every_format_goes_from_one_program_to_another(guest: Guest, screen: Screen) -> None:
    """Small at once and large by INCR: the second agent is a program like any other."""
    large = "Grüße 😀 日本\n".encode() * 40_000
    picture = png(700, 700)
    assert len(picture) > 1_000_000
    with running_agent(display=screen.name) as other:
        for parts in (
            {TEXT: "klein 😀".encode(), HTML: b"<b>klein</b>"},
            {TEXT: large, HTML: b"<p>" + large},
            {IMAGE: picture},
        ):
            copy(other, parts)
            assert paste(guest) == (parts, [])
            assert paste(other) == (parts, [])
        assert paste(guest, TEXT) == ({}, [])


@pytest.mark.parametrize("owned", ["firefox"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_markup_in_utf_16_comes_as_utf_8(guest: Guest) -> None:
    assert paste(guest) == ({TEXT: b"fett", HTML: "<b>fett ä日</b>".encode()}, [])


@pytest.mark.parametrize("owned", ["latin"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_latin_1_comes_as_utf_8(guest: Guest) -> None:
    assert paste(guest) == ({TEXT: "Grüße".encode()}, [])


@pytest.mark.parametrize("owned", ["broken"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_what_is_no_text_comes_as_valid_text(guest: Guest) -> None:
    parts, _ = paste(guest)
    for data in parts.values():
        assert "\ufffd" in data.decode()


@pytest.mark.parametrize("owned", ["silent"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_an_owner_that_does_not_answer_is_given_up(guest: Guest) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        paste(guest)


@pytest.mark.parametrize("owned", ["nonsense"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_an_owner_that_answers_nonsense_gives_nothing(guest: Guest) -> None:
    assert paste(guest, HTML, IMAGE) == ({}, [])


@pytest.mark.parametrize("owned", ["endless"], indirect=True)
@pytest.mark.usefixtures("owned")
def test_an_owner_without_end_costs_no_memory_and_no_service(guest: Guest, screen: Screen) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        paste(guest, TEXT)
    status = Path(f"/proc/{guest.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 200_000, f"{peak} KiB"
    copy(guest, {TEXT: b"ours again"})
    assert paste(guest) == ({TEXT: b"ours again"}, [])


def test_more_than_is_taken_is_told_as_too_large(guest: Guest, screen: Screen) -> None:
    """By a program of its own: no agent would own as much."""
    script = f"head -c {MOST_BYTES[TEXT] + 1} /dev/zero | tr '\\0' x"
    xclip = f"{script} | xclip -selection clipboard -i"
    program = screen.run("sh", "-c", xclip)
    program.wait(60)
    assert paste(guest, TEXT) == ({}, [TEXT])


def test_more_than_is_taken_is_refused(guest: Guest) -> None:
    for parts in ({TEXT: MOST_BYTES[TEXT] + 1}, {"text/richtext": 1}, {}, {IMAGE: -1}):
        with pytest.raises(InvalidError, match="parts"):
            guest.call("clipboard_write", parts=parts)
    with pytest.raises(InvalidError, match="formats"):
        guest.call("clipboard_read", formats=["text/richtext"])
