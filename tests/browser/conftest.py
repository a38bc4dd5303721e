"""The real page in a real Chromium, served by the real controller, over a host without machines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.browser.host import Host

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "web/dist"
PICTURES = ROOT / "test-results/page"
CHROMIUM = "/usr/bin/chromium"
# What is waited for comes within moments; a machine that is busy otherwise may still take this long.
START_DEADLINE_S = 120
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Oriel:
    """A controller of the tests' own, and the fake host under it."""

    host: Host
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.host.home.admin_token.read_text().strip()

    def start_controller(self) -> None:
        """Start it, and return when it serves."""
        home = self.host.home.root
        with (home / "controller.out").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oriel.controller", "--home", home, "--port", str(self.port),
                 "--pool-size", "0", "--keep-templates", "false"],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=20).close()
                return
            except urllib.error.URLError:
                time.sleep(0.05)
        pytest.fail(f"the controller does not serve:\n{(home / 'controller.out').read_text()[-4000:]}")

    def kill_controller(self) -> None:
        """kill -9, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_DEADLINE_S)

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        """The API as a script sees it; None for an answer without a body."""
        request = urllib.request.Request(
            f"{self.url}/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=START_DEADLINE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def desktop(self, name: str, **wanted: object) -> dict[str, Any]:
        """A desktop that runs."""
        self.ask("POST", "/desktops", {"name": name, **wanted})
        return self.until(name, "running")

    def exits_by(self, name: str, *addresses: str) -> None:
        """Its gateway tells these addresses, one after the other, by the way out it has."""
        machine = self.host.machine(name)
        shown = self.ask("GET", f"/desktops/{name}")
        way = self.ask("GET", f"/proxies/{shown['proxy']}")["url"] if shown["proxy"] != "direct" else "direct"
        for address in addresses:
            self.host.run(machine.record("egress.exit", address=address, via=way))

    def until(self, name: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            desktop = self.ask("GET", f"/desktops/{name}")
            if desktop["state"] == state:
                return desktop
            assert time.monotonic() < deadline, f"{name} is {desktop['state']}, not {state}"
            time.sleep(0.05)

    def clear(self) -> None:
        """Delete every desktop."""
        names = [item["id"] for item in self.ask("GET", "/desktops")["items"]]
        for name in names:
            self.ask("DELETE", f"/desktops/{name}")
        deadline = time.monotonic() + START_DEADLINE_S
        while self.ask("GET", "/desktops")["items"]:
            assert time.monotonic() < deadline, "desktops are left after their deletion"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def running_controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oriel]:
    """One controller for the whole layer."""
    if not (DIST / "index.html").exists():
        pytest.fail("web/dist is missing: `npm ci && npm run build` in web/")
    host = Host(tmp_path_factory.mktemp("home"))
    countries = host.home.root / "countries.mmdb"
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="test")
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(countries))
    host.home.settings.write_text(f'country_database = "{countries}"\n', encoding="utf-8")
    host.start()
    made = Oriel(host, free_port())
    try:
        made.start_controller()
        yield made
    finally:
        made.kill_controller()
        host.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def oriel(running_controller: Oriel) -> Iterator[Oriel]:
    """The controller without any desktop, and a host that does what it is told."""
    yield running_controller
    running_controller.host.reset()
    if running_controller.process is None or running_controller.process.poll() is not None:
        running_controller.start_controller()
    running_controller.clear()


# Per module: while it runs, this thread has a running event loop, and fixtures of others need their own.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    )
    yield browser
    browser.close()


@dataclass
class Complaints:
    """What the browser complained about: errors of the page, violations of its policy, foreign hosts."""

    lines: list[str] = field(default_factory=list)

    def watch(self, page: Page, home: str, *, hostile: bool = False) -> None:
        """`hostile`: somebody else's markup is looked at there, and what the policy stops of it is told."""
        page.on("pageerror", lambda error: self.lines.append(f"error: {error}"))
        page.on("console", lambda message: self._console(message.type, message.text, hostile=hostile))
        page.on("request", lambda request: self._request(request.url, home))

    def _console(self, kind: str, text: str, *, hostile: bool) -> None:
        if hostile and "Content Security Policy" in text:
            return
        # What is refused or lost is also logged by the browser and by noVNC; the page has its own words.
        expected = text.startswith(
            ("Failed to load resource", "WebSocket connection to", "Failed when connecting")
        )
        if kind == "error" and not expected:
            self.lines.append(f"console: {text}")

    def _request(self, url: str, home: str) -> None:
        if not url.startswith((home, "blob:", "data:")):
            self.lines.append(f"request to {url}")


OpenPage = Callable[..., Page]


def until(page: Page, happened: Callable[[], object], what: str) -> None:
    """Wait, with the page alive, for something that happens outside of it."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not happened():
        assert time.monotonic() < deadline, f"not within {PATIENCE_MS // 1000} s: {what}"
        page.wait_for_timeout(50)


def show_bar(page: Page) -> None:
    """Bring the view's controls out and keep the pointer on them: they go by themselves otherwise."""
    size = page.viewport_size
    assert size is not None
    page.mouse.move(size["width"] / 2, 1)
    expect(page.get_by_role("toolbar")).to_be_visible()


@pytest.fixture
def open_page(oriel: Oriel, chromium: Browser) -> Iterator[OpenPage]:
    """Open a path, signed in unless told otherwise. Whatever the browser complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints = Complaints()

    def open_(
        path: str = "/",
        *,
        signed_in: bool = True,
        size: tuple[int, int] = (1280, 800),
        scheme: str = "light",
        touch: bool = False,
        token: str = "",
        hostile: bool = False,
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=touch,
            locale="en-GB",
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        complaints.watch(page, oriel.url, hostile=hostile)
        if signed_in:
            answer = page.request.post(f"{oriel.url}/v1/session", data={"token": token or oriel.token})
            assert answer.ok, answer.text()
        page.goto(oriel.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints.lines, "\n".join(complaints.lines)


@pytest.fixture
def keep_picture() -> Callable[[Page, str], None]:
    """Write what the page looks like to test-results/page/NAME.png, for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=PICTURES / f"{name}.png")

    return keep
