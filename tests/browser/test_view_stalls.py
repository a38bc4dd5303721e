"""The network goes while somebody types: every stroke arrives, once and in order, by whatever way."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import until
from tests.conftest import Server

TERMINAL = (250, 420)
# The port of the desktop's relay, as the page was told it.
PEERS = """(() => { const Real = RTCPeerConnection; window.peers = [];
  window.RTCPeerConnection = class extends Real {
    constructor(...all) { super(...all); window.peers.push(this); } }; })()"""
PORT = "Number(/candidate:\\d+ 1 UDP \\d+ \\S+ (\\d+)/i.exec(window.peers.at(-1).remoteDescription.sdp)[1])"
HELD = "from Xlib import display; print(sum(display.Display(':1').query_keymap()))"


@pytest.fixture
def desktop(server: Server) -> Iterator[str]:
    name = f"stalls-{secrets.token_hex(2)}"
    server.oriel("create", name, "--runtime", "container")
    yield name
    server.oriel("delete", name)


@pytest.fixture
def page(server: Server, desktop: str, chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(60_000)
    page.add_init_script(PEERS)
    page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
    expect(page.locator("video[data-drives=true]")).to_be_visible()
    expect(page.locator(".latency-rung")).to_have_text("UDP")
    yield page
    page.close()


@contextlib.contextmanager
def blocked(port: int, *protocols: str) -> Iterator[None]:
    """Nothing reaches the relay's port, or comes from it."""
    name = f"stall_{secrets.token_hex(4)}"
    rules = "\n".join(f"{one} {way} {port} drop" for one in protocols for way in ("dport", "sport"))
    table = f"table inet {name} {{\nchain in {{\ntype filter hook input priority 0\n{rules}\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", name], check=True)


def test_what_is_typed_while_the_way_changes_arrives_in_order(
    server: Server, desktop: str, page: Page
) -> None:
    sessions: list[str] = []
    page.on("websocket", lambda socket: sessions.append(socket.url))
    typed = ""
    numbers = itertools.count()

    def type_on() -> None:
        nonlocal typed
        word = f"{next(numbers):04x}."
        page.keyboard.type(word, delay=15)
        typed += word

    def rung() -> str:
        return page.locator(".latency-rung").text_content() or ""

    def type_until(wanted: str) -> None:
        until(page, lambda: (type_on(), rung() == wanted)[1], f"the way {wanted}")
        type_on()

    page.mouse.click(*TERMINAL)
    page.keyboard.type("cat > typed\n")
    file = ("exec", desktop, "--", "cat", "/home/user/typed")
    until(page, lambda: server.oriel(*file, check=False).returncode == 0, "the terminal")
    for protocols, way in ((("udp",), ("TCP", "noVNC")), (("udp", "tcp"), ("noVNC",))):
        with blocked(page.evaluate(PORT), *protocols):
            page.keyboard.down("Shift")
            until(page, lambda: (type_on(), rung() in way)[1], f"another way than UDP, {way}")  # noqa: B023
            page.keyboard.up("Shift")
            type_on()
        type_until("UDP")
        page.keyboard.press("Enter")
        typed += "\n"
    page.keyboard.press("Control+d")
    until(page, lambda: server.oriel(*file).stdout.lower() == typed.lower(), f"what was typed:\n{typed}")
    held = ("exec", desktop, "--", "env", "DISPLAY=:1", "python3", "-c", HELD)
    until(page, lambda: server.oriel(*held).stdout.strip() == "0", "no key is down")
    assert not [url for url in sessions if url.endswith("/webrtc")], "the session has ended"
