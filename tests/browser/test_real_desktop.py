"""The main job as a person sees it: the real page, a real desktop, an upstream that wants a password."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from oriel.host.layout import Home
from oriel.host.records import read_json
from tests.conftest import Server
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

ROOT = Path(__file__).resolve().parents[2]
EXIT_ADDRESS = "127.0.0.77"  # from which the origin sees the upstream
DEADLINE_S = 180


@dataclass
class Behind:
    """A running desktop whose only way out is `upstream`, and the origin behind it."""

    server: Server
    name: str
    id: str
    upstream: UpstreamProxy
    origin: Origin

    def exec(self, *argv: str, check: bool = True) -> str:
        return self.server.oriel("exec", self.name, "--", *argv, check=check).stdout


@pytest.fixture(scope="module")
def behind(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    name = f"real-{secrets.token_hex(2)}"
    password = f"canary-{secrets.token_hex(12)}"
    with (
        Origin() as origin,
        UpstreamProxy(
            username="someone", password=password, source=EXIT_ADDRESS,
            hosts={"origin.test:80": ("127.0.0.1", origin.port)},
        ) as upstream,
    ):  # fmt: skip
        url_file = tmp_path_factory.mktemp("proxy") / "url"
        url_file.write_text(upstream.url)
        server.oriel("proxy", "add", name, "--url-file", str(url_file))
        made = server.json("create", name, "--runtime", "container", "--proxy", name)
        try:
            yield Behind(server, name, made["id"], upstream, origin)
        finally:
            server.oriel("delete", name)
            server.oriel("proxy", "delete", name)


@pytest.fixture
def view(behind: Behind, chromium: Browser) -> Iterator[Page]:
    """The viewer page, live, opened by the link that `./run` prints."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(f"{behind.server.url}/desktops/{behind.name}#token={behind.server.token}")
    # A key pressed at the very moment in which one rung takes the other's place is lost.
    expect(page.locator("video[data-drives=true]")).to_be_visible(timeout=DEADLINE_S * 1000)
    yield page
    context.close()


def until(found: Callable[[], object], what: str) -> object:
    """The first true answer of `found`, asked again until the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.1)
    return answer


# What is seen, whichever rung shows it, as pixels.
SHOWN = """([x, y, width, height]) => {
  const video = document.querySelector("video.remote:not([hidden])");
  const shown = video ?? document.querySelector(".view-screen canvas");
  const context = new OffscreenCanvas(1280, 720).getContext("2d");
  context.drawImage(shown, 0, 0);
  const pixels = context.getImageData(x, y, width, height).data;
  const colours = new Set(new Uint32Array(pixels.buffer)).size;
  return {colours, mean: pixels.reduce((sum, value) => sum + value, 0) / pixels.length};
}"""


def colours_in(page: Page, x: int, y: int, width: int, height: int) -> int:
    """How many colours the viewer shows in that part of the screen."""
    return page.evaluate(SHOWN, [x, y, width, height])["colours"]


def brightness_of(page: Page, x: int, y: int, width: int, height: int) -> float:
    """Of that part of the screen, from 0 to 255: a stream's pixels are never twice the same."""
    return page.evaluate(SHOWN, [x, y, width, height])["mean"]


def test_terminal_and_browser_are_painted(view: Page, behind: Behind) -> None:
    windows = {
        window["kind"]: window
        for window in view.request.get(f"{behind.server.url}/v1/desktops/{behind.id}/windows").json()[
            "windows"
        ]
        if window["mapped"] and window["painted"]
    }
    for kind in ("terminal", "browser"):
        window = windows[kind]
        until(
            lambda w=window: colours_in(view, w["x"], w["y"], w["width"], w["height"]) > 8,
            f"the {kind} on the canvas",
        )
    pictures = ROOT / "test-results/page"
    pictures.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=pictures / "real-desktop.png")


def test_a_line_typed_in_the_page_arrives_in_the_terminal(view: Page, behind: Behind) -> None:
    nonce = secrets.token_hex(8)
    view.mouse.click(200, 300)
    view.keyboard.type(f"echo {nonce} > ~/typed-{nonce}\n")
    until(
        lambda: behind.exec("cat", f"/home/user/typed-{nonce}", check=False).strip() == nonce,
        "the typed file",
    )


def test_chrome_fetches_by_keyboard_through_the_upstream(view: Page, behind: Behind) -> None:
    nonce = secrets.token_hex(8)
    bar = (700, 50, 480, 44)
    unselected = brightness_of(view, *bar)
    view.mouse.click(950, 500)
    # Keys are lost while Chrome takes the focus: as a person would, look whether the address is selected.
    until(
        lambda: view.keyboard.press("Control+l") or abs(brightness_of(view, *bar) - unselected) > 3,
        "the address selected",
    )
    view.keyboard.type(f"http://origin.test/{nonce}\n")
    seen = until(
        lambda: [item for item in behind.origin.seen if item.path == f"/{nonce}"], "Chrome's request"
    )
    assert seen[0].peer == EXIT_ADDRESS
    assert not seen[0].header("Proxy-Authorization")
    assert "Chrom" in seen[0].header("User-Agent")[0]


@pytest.mark.parametrize("program", ["curl -sS", "node -e 'fetch(process.argv[1])' --"])
def test_programs_leave_by_the_same_address(behind: Behind, program: str) -> None:
    nonce = secrets.token_hex(8)
    behind.exec("bash", "-lc", f"{program} http://origin.test/{nonce}")
    seen = until(lambda: [item for item in behind.origin.seen if item.path == f"/{nonce}"], program)
    assert seen[0].peer == EXIT_ADDRESS


def test_the_password_is_nowhere_but_where_it_must_be(behind: Behind) -> None:
    password = behind.upstream.password
    assert behind.upstream.authorities, "the upstream was used with it"
    # The canary goes in by stdin, so that the search itself puts it into no command line.
    search = (
        "read -r canary; cd /; for d in etc home root run tmp usr/lib/oriel var; do "
        'grep -rlsaF -- "$canary" /$d; done; '
        "for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do "
        '[[ $(tr -d "\\0" <$f 2>/dev/null) == *"$canary"* ]] && echo $f; done; '
        'journalctl --no-pager 2>/dev/null | grep -cF -- "$canary"; true'
    )
    found = behind.server.oriel(
        "exec", behind.name, "--", "sudo", "bash", "-c", search, stdin=f"{password}\n"
    ).stdout.split()
    assert found == ["0"], found
    home = behind.server.home
    for path in home.rglob("*"):
        if path.is_file() and path.suffix not in (".img",) and "images" not in path.parts:
            assert password.encode() not in path.read_bytes(), path
    for route in ("desktops", f"desktops/{behind.id}", f"desktops/{behind.id}/egress", "proxies", "audit"):
        answer = behind.server.get(route)
        assert password not in answer, route


# From now on, whether anything but the live picture was ever shown.
WATCH = """() => {
  const video = document.querySelector("video[data-drives=true]");
  const look = () => {
    const same = document.querySelector("video.remote:not([hidden])") === video;
    const dark = document.querySelector(".view-screen canvas, .curtain");
    if (!same || dark) window.blinked = document.body.innerHTML;
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
  look();
}"""


@contextlib.contextmanager
def without_controller(home: Home) -> Iterator[None]:
    """It is killed -9, and none that is started anew gets further than the lock, until the block ends."""
    lock = os.open(home.controller, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.kill(int(read_json(home.controller_record)["pid"]), signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def test_a_live_view_does_not_notice_that_the_controller_is_killed(view: Page, behind: Behind) -> None:
    """Typed into, and seen, while there is no controller; the next one takes it up as it is."""
    nonce = secrets.token_hex(8)
    terminal = (60, 120, 400, 400)
    view.mouse.click(200, 300)
    view.evaluate(WATCH)
    opened: list[str] = []
    view.on("websocket", lambda socket: opened.append(socket.url))
    before = brightness_of(view, *terminal)

    with without_controller(Home(behind.server.home)):
        view.keyboard.type(f"echo {nonce} > ~/kept-{nonce}; printf '\\033[?5h'\n")  # black on white
        until(lambda: abs(brightness_of(view, *terminal) - before) > 60, "what was typed, on the screen")
        view.screenshot(path=ROOT / "test-results/page/without-controller.png")
    until(
        lambda: behind.exec("cat", f"/home/user/kept-{nonce}", check=False).strip() == nonce,
        "the typed file, by the next controller",
    )
    people = view.request.get(f"{behind.server.url}/v1/desktops/{behind.id}").json()
    assert (people["viewers"], people["driver"]["kind"]) == (1, "person")
    view.keyboard.type("printf '\\033[?5l'\n")
    until(lambda: abs(brightness_of(view, *terminal) - before) < 30, "what was typed then, on the screen")
    assert view.evaluate("window.blinked ?? ''") == ""
    assert not opened
