"""The live view by WebRTC: a real desktop's screen decoded by Chromium, and hands over data channels."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.typing import BOARDS, WORD, try_one
from playwright.sync_api import Browser, Page

from oriel.client import Oriel
from tests.conftest import Server

VIEWER = Path(__file__).resolve().parents[2] / "bench/live/viewer.js"
DEADLINE_MS = 120_000
TEXT = "Grüße, Жизнь, ελληνικά, 日本語, žluťoučký kůň, €uro, 😀 fin"

KEYS = "ab\u00e4cd\u044fef\u20acgh\u0451ij\u00dfkl\u0416mn\u00e9op"


@dataclass
class Desk:
    """A running desktop, and the page's origin."""

    server: Server
    name: str

    def exec(self, *argv: str) -> str:
        return self.server.oriel("exec", self.name, "--", *argv).stdout

    def where(self, **more: Any) -> dict[str, Any]:
        return {"desktop": self.name, "token": self.server.token, **more}


@pytest.fixture(scope="module")
def desk(server: Server) -> Iterator[Desk]:
    name = f"live-{secrets.token_hex(2)}"
    server.oriel("create", name, "--runtime", "container", "--proxy", "none")
    try:
        yield Desk(server, name)
    finally:
        server.oriel("delete", name)


@pytest.fixture
def page(desk: Desk, chromium: Browser) -> Iterator[Page]:
    """A page of the server's origin with a measuring viewer in it."""
    page = chromium.new_page(viewport={"width": 1300, "height": 740}, bypass_csp=True)
    page.set_default_timeout(DEADLINE_MS)
    page.goto(f"{desk.server.url}/healthz")
    page.add_script_tag(path=VIEWER)
    yield page
    page.close()


def type_line(page: Page, text: str) -> None:
    """Click into the terminal, type a text, press Return; all over the data channel."""
    page.evaluate(
        """text => {
          const say = (message) => state.channels.input.send(JSON.stringify(message));
          for (const down of [true, false]) say({ type: "button", button: 1, down, x: 300, y: 200 });
          say({ type: "text", text });
          for (const down of [true, false]) say({ type: "key", keysym: 0xff0d, down });
        }""",
        text,
    )


def take_terminal(desk: Desk, page: Page) -> None:
    """Until the terminal has the focus: a browser that has just started may take it back once."""
    here = f"/home/user/here-{secrets.token_hex(4)}"
    for _ in range(20):
        type_line(page, f"touch {here}")
        if desk.exec(
            "sh", "-c", f"for n in $(seq 50); do [ -e {here} ] && echo yes && break; sleep 0.1; done"
        ):
            return
    pytest.fail("what is typed does not arrive in the terminal")


def wait_for_file(desk: Desk, path: str) -> str:
    return desk.exec(
        "sh", "-c", f"for n in $(seq 600); do [ -s {path} ] && break; sleep 0.1; done; cat {path}"
    )


@pytest.mark.parametrize(
    ("transport", "codec"), [("udp", "h264"), ("tcp", "h264"), ("udp", "vp8")], ids=["udp", "tcp", "vp8"]
)
def test_the_screen_is_decoded_and_a_typed_text_arrives_as_it_was(
    desk: Desk, page: Page, transport: str, codec: str
) -> None:
    page.evaluate("where => openWebrtc(where)", desk.where(transport=transport, codecs=[codec]))
    page.wait_for_function("state.frames > 0")
    assert page.evaluate("state.size") == [1280, 720]
    take_terminal(desk, page)
    path = f"/home/user/typed-{transport}-{codec}"
    type_line(page, f"cat > {path}.part <<'x'; mv {path}.part {path}")
    type_line(page, TEXT)
    type_line(page, "x")
    assert wait_for_file(desk, path) == TEXT + "\n"
    protocol = page.evaluate("""async () => {
        const stats = await state.peer.getStats();
        const transport = [...stats.values()].find((one) => one.type === "transport");
        return stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId).protocol;
    }""")
    assert protocol == transport


def test_keys_that_no_key_of_the_desktop_gives_stay_in_their_order(desk: Desk, page: Page) -> None:
    """One by one and all at once: what has to be bound first is not overtaken by what is there."""
    page.evaluate("where => openWebrtc(where)", desk.where())
    page.wait_for_function("state.frames > 0")
    take_terminal(desk, page)
    path = "/home/user/typed-keys"
    type_line(page, f"cat > {path}.part <<'x'; mv {path}.part {path}")
    page.evaluate(
        """text => { for (const sign of text) for (const down of [true, false]) {
          const point = sign.codePointAt(0), keysym = point <= 0xff ? point : 0x1000000 + point;
          state.channels.input.send(JSON.stringify({ type: "key", keysym, down }));
        } }""",
        KEYS,
    )  # fmt: skip
    type_line(page, "")
    type_line(page, "x")
    assert wait_for_file(desk, path) == KEYS + "\n"


def test_the_guest_sees_no_viewer_and_reaches_only_the_relay(desk: Desk, page: Page) -> None:
    page.evaluate("where => openWebrtc(where)", desk.where(transport="udp"))
    page.wait_for_function("state.frames > 0")
    sockets = desk.exec("sudo", "ss", "-Hunp")
    assert "127.0.0.1:" not in sockets.replace("127.0.0.1:53", "")
    offer = page.evaluate("state.peer.remoteDescription.sdp")
    assert "192.168.0" not in offer


def test_what_is_held_is_released_when_the_viewer_falls_silent(desk: Desk, page: Page) -> None:
    """A key goes down, and then nothing is said for ever: it repeats for two seconds, and no longer."""
    page.evaluate("where => openWebrtc(where)", desk.where())
    page.wait_for_function("state.frames > 0")
    path = "/home/user/held"
    type_line(page, f"cat > {path}.part <<'x'; mv {path}.part {path}")
    page.evaluate("state.channels.input.send(JSON.stringify({ type: 'key', keysym: 0x61, down: true }))")
    held = "import sys; from Xlib import display; d = display.Display(':1'); print(sum(d.query_keymap()))"
    look = f'[ "$(python3 -c "{held}")" = 0 ] && exit'
    desk.exec("sh", "-c", f"for n in $(seq 600); do {look}; sleep 0.1; done; exit 1")
    type_line(page, "")
    type_line(page, "x")
    typed = wait_for_file(desk, path).strip()
    assert set(typed) == {"a"}
    assert len(typed) > 1


def test_random_keystrokes_of_every_keyboard_arrive_to_the_byte(desk: Desk, page: Page) -> None:
    """A short `bench.typing`: us, de, fr and ru as keys, Japanese and emoji as text."""
    page.evaluate("where => openWebrtc(where)", desk.where())
    page.wait_for_function("state.frames > 0 && state.channels.input?.readyState === 'open'")
    take_terminal(desk, page)
    with Oriel(desk.server.url, desk.server.token) as oriel:
        made = oriel.desktop(desk.name)
        for kind, name, signs in BOARDS:
            told = try_one(page, made, name, signs, 2 * WORD, kind)
            assert told["exact"], (name, told)


def test_a_restart_of_ice_keeps_the_stream(desk: Desk, page: Page) -> None:
    page.evaluate("where => openWebrtc(where)", desk.where(transport="udp"))
    page.wait_for_function("state.frames > 0")
    before = page.evaluate("state.peer.remoteDescription.sdp.match(/ice-ufrag:(\\S+)/)[1]")
    page.evaluate("state.socket.send(JSON.stringify({ type: 'restart', transport: 'tcp' }))")
    page.wait_for_function(
        "before => state.peer.remoteDescription.sdp.match(/ice-ufrag:(\\S+)/)[1] !== before", arg=before
    )
    page.evaluate("state.marked = state.frames")
    page.evaluate("state.channels.desk.send(JSON.stringify({ type: 'keyframe' }))")
    page.wait_for_function("state.frames > state.marked && state.peer.connectionState === 'connected'")
    page.wait_for_function("""async () => {
        const all = await state.peer.getStats(), values = [...all.values()];
        const chosen = values.find((one) => one.type === "transport")?.selectedCandidatePairId;
        return all.get(all.get(chosen)?.localCandidateId)?.protocol === "tcp"; }""")
