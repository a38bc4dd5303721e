"""The live view on a real desktop: its rungs, its figure, clipboard, files, and two people at it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import PICTURES, show_bar, until
from tests.conftest import Server

UNICODE = "Grüße, Привет, 日本語, 🦊 €"
# The middle of the terminal, where a click gives it the keys.
TERMINAL = (250, 420)


@pytest.fixture(scope="module")
def desktop(server: Server) -> Iterator[str]:
    name = f"live-{secrets.token_hex(2)}"
    server.json("create", name, "--runtime", "container")
    yield name
    server.oriel("delete", name)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(
        viewport={"width": 1280, "height": 720}, permissions=["clipboard-read", "clipboard-write"]
    )
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def view(server: Server, desktop: str, context: BrowserContext) -> Page:
    """The page, live by whatever rung comes first."""
    page = context.new_page()
    page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
    expect(page.locator(".backdrop.away")).to_be_attached()
    return page


def pin(page: Page, way: str) -> None:
    """Choose a rung in the panel behind the figure."""
    page.keyboard.press("Control+Alt+Shift+D")
    page.get_by_label("Use", exact=True).select_option(way)
    page.keyboard.press("Control+Alt+Shift+D")


def on_rung(page: Page, rung: str) -> None:
    expect(page.locator(".latency-rung")).to_have_text(rung)
    expect(page.locator(".backdrop.away")).to_be_attached()


def typed(server: Server, desktop: str, page: Page) -> None:
    """A line typed in the page arrives, whole, in the terminal."""
    nonce = secrets.token_hex(6)
    expect(page.locator("canvas, video[data-drives=true]").locator("visible=true").first).to_be_visible()
    expect(page.locator(".edge")).to_have_count(0)
    page.mouse.click(*TERMINAL)
    page.keyboard.type(f"echo {nonce} > ~/{nonce}\n", delay=5)

    def arrived() -> bool:
        found = server.oriel("exec", desktop, "--", "cat", f"/home/user/{nonce}", check=False)
        return found.stdout.strip() == nonce

    until(page, arrived, "the line in the terminal")


def test_every_rung_shows_and_types_in_one_session(server: Server, desktop: str, view: Page) -> None:
    on_rung(view, "UDP")
    typed(server, desktop, view)
    view.keyboard.press("Control+Alt+Shift+D")
    expect(view.get_by_text(re.compile(r"^\d+ ms, p95 \d+ ms$"))).to_be_visible()
    view.screenshot(path=PICTURES / "live-connection.png")
    view.keyboard.press("Control+Alt+Shift+D")
    pin(view, "noVNC only")
    on_rung(view, "noVNC")
    expect(view.locator(".view-screen canvas")).to_be_visible()
    typed(server, desktop, view)
    pin(view, "WebRTC over TCP only")
    on_rung(view, "TCP")
    typed(server, desktop, view)
    pin(view, "the best way there is")
    on_rung(view, "UDP")
    typed(server, desktop, view)


@pytest.mark.parametrize("way", ["the best way there is", "noVNC only"])
def test_the_clipboard_carries_every_character_both_ways(
    server: Server, desktop: str, view: Page, way: str
) -> None:
    pin(view, way)
    on_rung(view, "noVNC" if "noVNC" in way else "UDP")
    view.keyboard.press("Control+Alt+Shift+C")
    field = view.get_by_label("Clipboard of the desktop")
    field.fill(UNICODE)
    paste = ("exec", desktop, "--", "xclip", "-selection", "clipboard", "-o")
    until(view, lambda: server.oriel(*paste, check=False).stdout == UNICODE, "the text in the desktop")
    other = f"{UNICODE} zurück"
    # xclip stays to answer for what it copied; what started it must not wait for its output.
    copy = 'printf %s "$1" | xclip -selection clipboard -i >/dev/null 2>&1'
    server.oriel("exec", desktop, "--", "sh", "-c", copy, "sh", other)
    expect(field).to_have_value(other)


def test_files_go_there_and_come_back(server: Server, desktop: str, view: Page, tmp_path: Path) -> None:
    content = secrets.token_bytes(300_000)
    source = tmp_path / "zwei Wörter.bin"
    source.write_bytes(content)
    view.keyboard.press("Control+Alt+Shift+U")
    for _ in range(2):
        view.get_by_label("Choose files").set_input_files(source)
        expect(view.locator(".upload progress").last).to_have_js_property("value", 1)
    expect(view.get_by_role("link", name="zwei Wörter (2).bin")).to_be_visible()
    with view.expect_download() as download:
        view.get_by_role("link", name="zwei Wörter.bin").click()
    target = tmp_path / "back"
    download.value.save_as(target)
    assert target.read_bytes() == content


def test_the_desktop_follows_the_window(server: Server, desktop: str, view: Page) -> None:
    view.keyboard.press("Control+Alt+Shift+Z")
    view.get_by_label("Size", exact=True).select_option("The desktop follows the window")
    for width, height in ((1024, 640), (1280, 720)):
        view.set_viewport_size({"width": width, "height": height})
        shape = ("exec", desktop, "--", "sh", "-c", "DISPLAY=:1 xwininfo -root")
        wanted = f"-geometry {width}x{height}+0+0"
        until(view, lambda: wanted in server.oriel(*shape, check=False).stdout, wanted)  # noqa: B023


def test_two_people_hand_control_to_each_other(
    server: Server, desktop: str, view: Page, chromium: Browser
) -> None:
    on_rung(view, "UDP")
    typed(server, desktop, view)
    link = view.request.post(
        f"{server.url}/v1/desktops/{desktop}/tickets",
        data={"mode": "control", "ttl_s": 600},
        headers={"Authorization": f"Bearer {server.token}"},
    ).json()["viewer_url"]
    other = chromium.new_context(viewport={"width": 1280, "height": 720})
    other.set_default_timeout(60_000)
    try:
        guest = other.new_page()
        guest.goto(link)
        expect(guest.locator(".backdrop.away")).to_be_attached()
        expect(guest.locator(".edge")).to_be_attached()
        expect(guest.get_by_text("is driving.")).to_be_visible()
        view.mouse.click(*TERMINAL)
        guest.get_by_role("button", name="Take control").click()
        expect(view.get_by_text("asks to drive")).to_be_visible()
        view.screenshot(path=PICTURES / "live-asked.png")
        view.get_by_role("button", name="Hand over").click()
        expect(view.get_by_text("is driving.")).to_be_visible()
        typed(server, desktop, guest)
        view.screenshot(path=PICTURES / "live-watching.png")
        view.get_by_role("button", name="Take control").click()
        typed(server, desktop, view)
    finally:
        other.close()
    show_bar(view)
