"""Fingers, and a pointer that is locked, on a real desktop: what its X server hears of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.conftest import PICTURES, until
from tests.conftest import Server

# A window over all others that writes down what the pointer does on it, and says `ready` when it is there.
PAD = """
import json, os, sys
from Xlib import X, display
d = display.Display()
screen = d.screen()
size = screen.root.get_geometry()
pad = screen.root.create_window(0, 0, size.width, size.height, 0, X.CopyFromParent, override_redirect=True,
    background_pixel=0x203040,
    event_mask=X.ButtonPressMask | X.ButtonReleaseMask | X.PointerMotionMask | X.ExposureMask)
pad.map()
pad.raise_window()
told = open(sys.argv[1], "w", buffering=1)
while True:
    event = d.next_event()
    if event.type == X.Expose:
        print(json.dumps(["ready"]), file=told)
        continue
    kind = {X.ButtonPress: "down", X.ButtonRelease: "up", X.MotionNotify: "move"}.get(event.type)
    if kind:
        print(json.dumps([kind, event.detail, event.event_x, event.event_y]), file=told)
"""
PHONE = {"width": 390, "height": 844}
# The desktop's 1280x720 on the phone's width, in its middle.
SCALE, TOP = 390 / 1280, (844 - 720 * 390 / 1280) / 2


class Pad:
    """What happens on the desktop's pointer."""

    def __init__(self, server: Server, desktop: str) -> None:
        self._server, self._desktop = server, desktop
        self._path = f"/tmp/pad-{secrets.token_hex(4)}"
        start = f'DISPLAY=:1 setsid python3 -c "$PAD" {self._path} >/dev/null 2>&1 & echo $!'
        self._pid = server.oriel("exec", desktop, "--", "env", f"PAD={PAD}", "sh", "-c", start).stdout.strip()
        self._seen = 0

    def events(self) -> list[list[Any]]:
        """All since `forget`."""
        found = self._server.oriel("exec", self._desktop, "--", "cat", self._path, check=False).stdout
        lines = found.splitlines()
        self._last = len(lines)
        return [json.loads(line) for line in lines[self._seen :]]

    def forget(self) -> None:
        self._seen = self._last

    def buttons(self) -> list[tuple[str, int]]:
        return [(event[0], event[1]) for event in self.events() if event[0] in ("down", "up")]

    def close(self) -> None:
        self._server.oriel("exec", self._desktop, "--", "kill", self._pid, check=False)


@pytest.fixture(scope="module")
def desktop(server: Server) -> Iterator[str]:
    name = f"touch-{secrets.token_hex(2)}"
    server.json("create", name, "--runtime", "container")
    yield name
    server.oriel("delete", name)


@pytest.fixture
def pad(server: Server, desktop: str) -> Iterator[Pad]:
    made = Pad(server, desktop)
    yield made
    made.close()


@pytest.fixture
def phone(server: Server, desktop: str, chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
    expect(page.locator(".latency-rung")).to_have_text("UDP")
    expect(page.locator("video[data-drives=true]")).to_be_visible()
    yield page
    context.close()


def place(x: float, y: float) -> tuple[float, float]:
    """Where a place of the desktop is on the phone."""
    return x * SCALE, TOP + y * SCALE


class Fingers:
    def __init__(self, page: Page) -> None:
        self._devtools: CDPSession = page.context.new_cdp_session(page)

    def touch(self, kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        self._devtools.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    def tap(self, at: tuple[float, float]) -> None:
        self.touch("Start", at)
        self.touch("End")


def near(event: list[Any], x: float, y: float) -> bool:
    return event[0] != "ready" and abs(event[2] - x) <= 5 and abs(event[3] - y) <= 5


def test_fingers_click_drag_scroll_and_magnify(pad: Pad, phone: Page) -> None:
    until(phone, lambda: ["ready"] in pad.events(), "the pad")
    fingers = Fingers(phone)

    pad.forget()
    fingers.tap(place(400, 300))
    until(phone, lambda: len(pad.buttons()) == 2, "a click")
    down, up = (event for event in pad.events() if event[0] != "move")
    assert (down[:2], up[:2]) == (["down", 1], ["up", 1])
    assert near(down, 400, 300)

    pad.forget()
    fingers.touch("Start", place(500, 350))
    until(phone, lambda: pad.buttons() == [("down", 3), ("up", 3)], "a right click while the finger stays")
    fingers.touch("End")

    pad.forget()
    fingers.touch("Start", place(300, 300), place(420, 300))
    fingers.touch("End")
    until(phone, lambda: pad.buttons() == [("down", 3), ("up", 3)], "a right click of two fingers")

    pad.forget()
    fingers.touch("Start", place(200, 200))
    for step in range(1, 11):
        fingers.touch("Move", place(200 + 40 * step, 200 + 20 * step))
    fingers.touch("End")
    until(phone, lambda: pad.buttons() == [("down", 1), ("up", 1)], "a drag")
    dragged = pad.events()
    assert near(next(event for event in dragged if event[0] == "down"), 200, 200)
    assert near(next(event for event in dragged if event[0] == "up"), 600, 400)
    assert (
        sum(
            event[0] == "move"
            for event in dragged[dragged.index(next(e for e in dragged if e[0] == "down")) :]
        )
        > 3
    )

    pad.forget()
    fingers.touch("Start", place(400, 500), place(520, 500))
    for step in range(1, 13):
        fingers.touch("Move", place(400, 500 - 25 * step), place(520, 500 - 25 * step))
    fingers.touch("End")
    until(phone, lambda: len(pad.buttons()) >= 8, "some notches of a wheel")
    assert {button for _, button in pad.buttons()} == {5}, (
        "the page goes up with the fingers: the wheel turns down"
    )

    pad.forget()
    fingers.touch("Start", place(560, 360), place(720, 360))
    for step in range(1, 11):
        fingers.touch("Move", place(560 - 16 * step, 360), place(720 + 16 * step, 360))
    fingers.touch("End")
    assert pad.buttons() == []
    wide = phone.locator("video.remote").evaluate("video => video.getBoundingClientRect().width")
    assert wide > 2 * PHONE["width"]
    phone.screenshot(path=PICTURES / "phone-magnified.png")
    # Whoever taps means what is under the finger.
    fingers.tap(place(640, 360))
    until(phone, lambda: len(pad.buttons()) == 2, "a click in the magnified picture")
    assert near(next(event for event in pad.events() if event[0] == "down"), 640, 360)


def test_a_locked_pointer_moves_by_just_what_it_is_moved(
    server: Server, desktop: str, pad: Pad, chromium: Browser
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(60_000)
    page = context.new_page()
    try:
        page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
        expect(page.locator("video[data-drives=true]")).to_be_visible()
        until(page, lambda: ["ready"] in pad.events(), "the pad")
        page.mouse.move(600, 300)
        until(
            page,
            lambda: any(near(event, 600, 300) for event in pad.events() if event[0] == "move"),
            "the pointer",
        )
        page.mouse.click(600, 300)
        page.keyboard.press("Control+Alt+Shift+G")
        page.wait_for_function("document.pointerLockElement?.matches('video')")
        until(page, lambda: len(pad.buttons()) == 2, "the click")
        pad.forget()
        for step in range(1, 21):
            page.mouse.move(600 + 10 * step, 300 - 5 * step)
        until(
            page,
            lambda: any(near(event, 800, 200) for event in pad.events()),
            "the pointer 200 to the right, 100 up",
        )
        page.mouse.down()
        page.mouse.up()
        until(page, lambda: pad.buttons() == [("down", 1), ("up", 1)], "a click where the pointer is")
        assert near(pad.events()[-1], 800, 200)
        expect(page.locator("img.arrow")).to_be_visible()
        page.screenshot(path=PICTURES / "pointer-locked.png")
        page.evaluate("document.exitPointerLock()")
        expect(page.locator("img.arrow")).to_be_hidden()
    finally:
        context.close()
