"""A desktop that attacks whoever looks at it: the page stays itself, goes on, and so does the controller."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.attack.desktops import until
from tests.conftest import Server

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 120_000
TERMINAL = (250, 420)
HOSTILE = Path(__file__).with_name("hostile_media.py")
SERVICE = "/etc/systemd/system/oriel-webrtc.service.d"
# The name is what x11vnc tells every viewer.
NAME = "<img src=x onerror=window.hacked=1>" + "A" * 3000
RUN = "/usr/bin/python3 /home/user/hostile_media.py"
UNITS = "/run/systemd/system.control"
LADDER = {"flood": re.compile("UDP|TCP|noVNC"), "offer": "noVNC"}
TAKE_OVER = f"""
mkdir -p {SERVICE} {UNITS}
printf '[Service]\\nExecStart=\\nExecStart={RUN} %s\\n' "$1" > {SERVICE}/hostile.conf
sed "s|-quiet|-quiet -desktop '$2'|" /etc/systemd/system/x11vnc.service > {UNITS}/x11vnc.service
systemctl daemon-reload
systemctl stop oriel-webrtc.service
systemctl restart x11vnc.service
"""


# How many messages came over data channels.
COUNT = """(() => { const Real = RTCPeerConnection; window.heard = 0;
  window.RTCPeerConnection = class extends Real { constructor(...all) { super(...all);
    this.addEventListener("datachannel", ({ channel }) =>
      channel.addEventListener("message", () => { window.heard += 1; })); } }; })()"""


@pytest.fixture(scope="module")
def desktop(server: Server) -> Iterator[str]:
    name = f"hostile-{secrets.token_hex(2)}"
    server.oriel("create", name, "--runtime", "container", "--proxy", "none")
    server.oriel("cp", str(HOSTILE), f"{name}:/home/user/hostile_media.py")
    yield name
    server.oriel("delete", name)


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


@pytest.mark.parametrize("attack", ["flood", "offer"])
def test_who_looks_at_it_stays_well(server: Server, desktop: str, page: Page, attack: str) -> None:
    """Where nothing of use comes any more the ladder does what it always does: noVNC's screen is shown."""
    server.oriel("exec", desktop, "--", "sudo", "sh", "-ec", TAKE_OVER, "sh", attack, NAME)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.add_init_script(COUNT)
    page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
    expect(page.locator(".latency-rung")).to_have_text(LADDER[attack], timeout=PATIENCE_MS)
    expect(page.locator(".backdrop.away")).to_be_attached(timeout=PATIENCE_MS)
    if attack == "flood":
        until(lambda: page.evaluate("window.heard") > 1000, "the flood")
    nonce = secrets.token_hex(6)
    page.mouse.click(*TERMINAL)
    page.keyboard.type(f"echo {nonce} > ~/{nonce}\n", delay=20)
    read = ("exec", desktop, "--", "cat", f"/home/user/{nonce}")
    until(lambda: server.oriel(*read, check=False).stdout.strip() == nonce, "what is typed")
    expect(page).to_have_title(f"{desktop} · Oriel")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert not errors
    assert not [url for url in requests if not url.startswith((server.url, "data:", "blob:"))]
    assert server.oriel("exec", desktop, "--", "true").returncode == 0
