"""Pointer, keys, text and clipboard, with a real agent and real programs at the other end."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from Xlib import X
from Xlib.display import Display

from oriel.model.clipboard import TEXT
from oriel.model.errors import InvalidError, UnavailableError
from tests.integration.agents import Guest, Screen, copy, need_programs, paste, running_agent, start_screen

LATIN = "The quick brown fox, 0123456789 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ THE END"
MIXED = "Grüße, Жизнь, ελληνικά, 日本語, žluťoučký kůň, €uro, 😀 fin"
EDITOR = (
    "data:text/html,<body style='margin:0'><textarea autofocus "
    "oninput='document.title=`length ${value.length}`' style='width:100%;height:90vh'></textarea>"
)


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    made = start_screen("1280x720")
    made.manage()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def guest(screen: Screen) -> Iterator[Guest]:
    with running_agent(display=screen.name) as made:
        yield made


def until(true: Callable[[], Any], what: str) -> Any:
    """Ask again and again; the agent's answers are the event."""
    deadline = time.monotonic() + 20
    while not (value := true()):
        assert time.monotonic() < deadline, what
    return value


def send(guest: Guest, *events: dict[str, Any]) -> None:
    assert guest.call("input", events=list(events)) == {}


def chord(*names: str) -> list[dict[str, Any]]:
    down = [{"type": "key", "keysym": name, "down": True} for name in names]
    return down + [{"type": "key", "keysym": name, "down": False} for name in reversed(names)]


class Recorder:
    """A window that covers the screen and notes the events it gets, as any program would."""

    def __init__(self, screen: Screen) -> None:
        self._display = Display(screen.name)
        root = self._display.screen().root
        self.events: list[tuple[str, int, int, int]] = []
        mask = X.KeyPressMask | X.KeyReleaseMask | X.ButtonPressMask | X.ButtonReleaseMask | X.ExposureMask
        self._window = root.create_window(
            0, 0, 1280, 720, 0, X.CopyFromParent, override_redirect=1, event_mask=mask
        )
        self._window.map()
        while self._next().type != X.Expose:
            pass
        self._window.set_input_focus(X.RevertToParent, X.CurrentTime)
        self._display.sync()

    def read(self, count: int) -> list[tuple[str, int, int, int]]:
        """The next events: (what, keysym or button, x, y)."""
        found: list[tuple[str, int, int, int]] = []
        while len(found) < count:
            event = self._next(found)
            if event.type == X.MappingNotify:
                self._display.refresh_keyboard_mapping(event)
            elif event.type in (X.KeyPress, X.KeyRelease):
                shift = 1 if event.state & X.ShiftMask else 0
                what = "down" if event.type == X.KeyPress else "up"
                columns = (shift, 0)
                keysyms = [self._display.keycode_to_keysym(event.detail, column) for column in columns]
                found.append((what, next(filter(None, keysyms), 0), event.detail, 0))
            elif event.type in (X.ButtonPress, X.ButtonRelease):
                what = "press" if event.type == X.ButtonPress else "release"
                found.append((what, event.detail, event.root_x, event.root_y))
        return found

    def _next(self, so_far: object = None) -> Any:
        if not self._display.pending_events():
            assert select.select([self._display], [], [], 10)[0], f"no further event after {so_far}"
        return self._display.next_event()

    def close(self) -> None:
        self._window.destroy()
        self._display.close()


@pytest.fixture
def recorder(screen: Screen) -> Iterator[Recorder]:
    made = Recorder(screen)
    yield made
    made.close()


def test_the_pointer_moves_and_its_buttons_and_wheel_arrive_in_order(
    guest: Guest, recorder: Recorder
) -> None:
    send(
        guest, {"type": "move", "x": 321, "y": 123}, {"type": "button", "button": 1, "down": True},
        {"type": "move", "x": 400, "y": 200}, {"type": "button", "button": 1, "down": False},
        {"type": "wheel", "dx": 0, "dy": 2}, {"type": "wheel", "dx": -1, "dy": 0},
        {"type": "wheel", "dx": 1, "dy": -1},
    )  # fmt: skip
    assert guest.call("cursor") == {"x": 400, "y": 200}
    buttons = [5, 5, 6, 4, 7]
    assert recorder.read(12) == [
        ("press", 1, 321, 123), ("release", 1, 400, 200),
        *((what, button, 400, 200) for button in buttons for what in ("press", "release")),
    ]  # fmt: skip


def test_keys_by_name_and_number_with_and_without_shift(guest: Guest, recorder: Recorder) -> None:
    send(guest, *chord("a"), *chord("A"), *chord("exclam"), {"type": "key", "keysym": 0xFF0D, "down": True})
    send(guest, {"type": "key", "keysym": "Return", "down": False})
    shift, a, big, bang, enter = 0xFFE1, 0x61, 0x41, 0x21, 0xFF0D
    assert [event[:2] for event in recorder.read(12)] == [
        ("down", a), ("up", a),
        ("down", shift), ("down", big), ("up", 0xFFE1), ("up", a),
        ("down", shift), ("down", bang), ("up", 0xFFE1), ("up", 0x31),
        ("down", enter), ("up", enter),
    ]  # fmt: skip


def test_a_held_shift_is_used_as_it_is(guest: Guest, recorder: Recorder) -> None:
    send(guest, *chord("Shift_L", "A"))
    assert [event[0] for event in recorder.read(4)] == ["down", "down", "up", "up"]


def test_a_keysym_no_key_has_is_released_on_the_key_it_was_pressed_on(
    guest: Guest, recorder: Recorder
) -> None:
    cyrillic = 0x06D1
    send(guest, {"type": "key", "keysym": cyrillic, "down": True})
    text = "日本語文字化け試験用二十種類以上必要な例文をここに書"
    send(guest, {"type": "text", "text": text})
    send(guest, {"type": "key", "keysym": cyrillic, "down": False})
    first, *others, last = recorder.read(2 + 2 * len(text))
    assert (first[0], last[:2]) == ("down", ("up", cyrillic))
    assert first[2] == last[2]
    assert first[2] not in {event[2] for event in others}  # the held key is not lent to another


def test_a_point_beyond_the_screen_is_refused_before_anything_is_sent(guest: Guest) -> None:
    send(guest, {"type": "move", "x": 5, "y": 6})
    with pytest.raises(InvalidError, match=r"events\[1\]\.x: must be from 0 to 1279"):
        send(guest, {"type": "move", "x": 50, "y": 60}, {"type": "move", "x": 1280, "y": 0})
    assert guest.call("cursor") == {"x": 5, "y": 6}


def click_into(guest: Guest, window: dict[str, Any]) -> None:
    """As a person does to be sure that the window has the focus."""
    x, y = window["x"] + window["width"] // 2, window["y"] + window["height"] // 2
    click = [{"type": "button", "button": 1, "down": down} for down in (True, False)]
    send(guest, {"type": "move", "x": x, "y": y}, *click)


def typed_in_a_terminal(screen: Screen, guest: Guest, text: str) -> str:
    """What a program in an xterm reads when `text` and Return are typed."""
    path = Path(guest.home, "typed")
    path.unlink(missing_ok=True)
    script = f"PS1=; printf '%s' 'ready for typing now'; head -n 1 > {path}.part; mv {path}.part {path}"
    program, windows = terminal(screen, guest, script)
    try:
        click_into(guest, next(window for window in windows if window["kind"] == "terminal"))
        send(guest, {"type": "text", "text": text + "\n"})
        until(path.exists, "the line was not read")
        return path.read_text().rstrip("\n")
    finally:
        program.wait(10)


def terminal(
    screen: Screen, guest: Guest, script: str
) -> tuple[subprocess.Popen[bytes], list[dict[str, Any]]]:
    """An xterm in which `script` runs, painted. Under load xterm comes up one character wide now and then,
    whatever size it is told: that one goes, and another comes."""
    for _ in range(5):
        program = screen.run("xterm", "-u8", "-e", "sh", "-c", script, LANG="C.UTF-8")
        try:
            return program, guest.call("wait_ready", kinds=["terminal"], deadline_s=10)["windows"]
        except UnavailableError:
            print(guest.call("windows"))
            program.kill()
            program.wait()
    pytest.fail("no xterm was painted")


@pytest.mark.parametrize("text", [LATIN, MIXED, LATIN * 5], ids=["latin", "mixed", "long"])
def test_a_text_arrives_in_a_terminal_as_it_was(screen: Screen, guest: Guest, text: str) -> None:
    assert typed_in_a_terminal(screen, guest, text) == text


def test_held_modifiers_and_caps_lock_do_not_spoil_a_text(screen: Screen, guest: Guest) -> None:
    send(guest, *chord("Caps_Lock"))
    try:
        send(guest, {"type": "key", "keysym": "Control_L", "down": True})
        assert typed_in_a_terminal(screen, guest, "Mixed Case and ünïcode") == "Mixed Case and ünïcode"
    finally:
        send(guest, *chord("Caps_Lock"))


@pytest.fixture(scope="module")
def browser(screen: Screen, guest: Guest) -> Iterator[None]:
    """Chromium with a text field that has the focus."""
    need_programs("chromium")
    program = screen.run(
        "chromium", "--no-sandbox", "--no-first-run", "--disable-gpu", f"--user-data-dir={guest.home}/p",
        "--window-size=900,600", "--window-position=0,0", EDITOR, HOME=str(guest.root),
    )  # fmt: skip
    windows = guest.call("wait_ready", kinds=["browser"], deadline_s=60, patience_s=70)["windows"]
    click_into(guest, next(window for window in windows if window["kind"] == "browser"))
    yield
    program.terminate()
    program.wait(20)


def copied(guest: Guest) -> str:
    """All of the text field, through the clipboard."""
    copy(guest, {TEXT: b"nothing copied yet"})
    send(guest, *chord("Control_L", "a"), *chord("Control_L", "c"))
    return until(
        lambda: (text := paste(guest)[0].get(TEXT, b"").decode()) != "nothing copied yet" and text,
        "nothing was copied",
    )


def test_a_text_with_far_more_characters_than_spare_keys_arrives_in_chromium(
    guest: Guest, browser: None
) -> None:
    """Every spare key is bound anew many times over; each time Chromium must have read its last use."""
    text = "".join(chr(0x4E00 + 7 * number) for number in range(300)) + MIXED
    send(guest, {"type": "text", "text": text})
    assert copied(guest) == text


def test_what_we_set_is_pasted_and_what_was_copied_is_got(guest: Guest, browser: None) -> None:
    """Small at once, and large by INCR, in both directions."""
    for text in ("small: Grüße 😀", "line\n" * 40_000):
        copy(guest, {TEXT: text.encode()})
        assert paste(guest) == ({TEXT: text.encode()}, [])
        send(guest, *chord("Control_L", "a"), *chord("Control_L", "v"))
        length = len(text.encode("utf-16-le")) // 2  # as JavaScript counts
        until(lambda length=length: has_title(guest, f"length {length}"), "no paste")
        assert copied(guest) == text


def has_title(guest: Guest, beginning: str) -> bool:
    return any(window["title"].startswith(beginning) for window in guest.call("windows")["windows"])


def test_all_faults_of_all_events_are_told_together(guest: Guest) -> None:
    with pytest.raises(InvalidError) as caught:
        send(
            guest, {"type": "move", "x": -1}, {"type": "button", "button": 12, "down": 1}, {"type": "jump"},
            {"type": "key", "keysym": "NoSuchKey", "down": True}, {"type": "text", "text": "\x01"},
            {"type": "wheel", "dx": 1.5}, {"type": "wheel", "more": 1}, {"type": "button", "button": 1},
        )  # fmt: skip
    assert [fault.field for fault in caught.value.faults] == [
        "events[0].x", "events[0].y", "events[1].button", "events[1].down", "events[2].type",
        "events[3].keysym", "events[4].text", "events[5].dx", "events[6].more", "events[7].down",
    ]  # fmt: skip
