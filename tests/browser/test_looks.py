"""Every screen at three widths, light and dark: no violation axe knows of, nothing wider than the window, and
a picture in test-results/page/ for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ROOT, OpenPage, Oriel

AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
SIZES = {1440: 900, 1024: 768, 390: 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
KeepPicture = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.fail("axe-core is missing: `npm ci` in web/")
    return Path(AXE).read_text()


AUDIT = """([within, tags]) => axe.run(within, {runOnly: {type: "tag", values: tags}}).then(({violations}) =>
  violations.flatMap(({id, nodes}) =>
    nodes.map(node => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary}`)))"""
# What moves for ever (a breathing dot) is part of the picture.
AT_REST = """() => document.getAnimations().every(one =>
  one.playState !== "running" || one.effect.getTiming().iterations === Infinity)"""


def inspect(page: Page, axe: str, keep_picture: KeepPicture, name: str, within: str) -> None:
    page.wait_for_function(AT_REST)
    keep_picture(page, name)
    page.evaluate(axe)
    assert page.evaluate(AUDIT, [within, RULES]) == [], name
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, f"{name} is {too_wide} px wider than the window"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(SIZES))
def test_every_screen(
    oriel: Oriel, open_page: OpenPage, keep_picture: KeepPicture, axe: str, width: int, scheme: str
) -> None:
    def look(page: Page, name: str, within: str = "html") -> None:
        inspect(page, axe, keep_picture, f"{name}-{width}-{scheme}", within)

    size = (width, SIZES[width])
    look(open_page("/", signed_in=False, size=size, scheme=scheme), "login")
    page = open_page("/", size=size, scheme=scheme, touch=width < 500)
    expect(page.locator(".empty")).to_be_visible()
    look(page, "empty")

    oriel.desktop("amber-lagoon", proxy="direct")
    oriel.desktop("silver-jetty")
    oriel.ask("POST", "/desktops/silver-jetty/stop")
    oriel.host.fail_with("agent", "The machine did not answer within 60 s.", "Look at its console below.")
    oriel.ask("POST", "/desktops", {"name": "bold-otter"})
    oriel.until("bold-otter", "failed")
    oriel.until("silver-jetty", "stopped")
    release = oriel.host.hold("agent")
    oriel.ask("POST", "/desktops", {"name": "quiet-heron"})
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator(".card img").first).to_be_visible()
    expect(page.locator(".steps .done")).to_have_count(4)
    oriel.exits_by("amber-lagoon", "203.0.113.7", "203.0.113.200")
    expect(page.locator(".badge.warned")).to_contain_text("203.0.113.200")
    look(page, "wall")
    oriel.ask(
        "PATCH",
        "/desktops/amber-lagoon/egress",
        {"byte_quota": 10_000, "deny": ["*.example.com"], "access_log": True},
    )
    oriel.exits_by("amber-lagoon", "203.0.113.7")
    expect(page.locator(".badge.warned")).to_contain_text("203.0.113.7")
    page.get_by_role("button", name="Actions for amber-lagoon").click()
    page.get_by_role("menuitem", name="Way out…").click()
    expect(page.get_by_role("meter")).to_be_visible()
    page.get_by_text("Where it went").click()
    expect(page.get_by_role("cell", name="a.test", exact=True)).to_be_visible()
    look(page, "way-out")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Actions for amber-lagoon").click()
    page.get_by_role("menuitem", name="Delete").click()
    look(page, "delete")
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="New desktop").click()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Memory, MiB").fill("7")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".field-fault").first).to_be_visible()
    look(page, "create")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    look(page, "palette")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Menu", exact=True).click()
    # What an open menu half covers counts as too small a target; it is no target now.
    look(page, "menu", ".menu-list")

    for table in ("proxies", "images", "templates", "snapshots", "tokens", "people", "audit"):
        page.goto(f"{oriel.url}/{table}")
        expect(page.locator("table, .table-note").first).to_be_visible()
        look(page, table)

    page.goto(f"{oriel.url}/desktops/quiet-heron")
    expect(page.locator(".steps .now")).to_be_visible()
    look(page, "starting")
    release()
    page.goto(f"{oriel.url}/desktops/silver-jetty")
    expect(page.locator(".sheet")).to_be_visible()
    look(page, "stopped")
    page.goto(f"{oriel.url}/desktops/bold-otter")
    expect(page.locator(".sheet")).to_be_visible()
    look(page, "failed")
    page.goto(f"{oriel.url}/desktops/amber-lagoon")
    expect(page.locator(".backdrop.away")).to_be_attached()
    look(page, "view-bar")
    panels = {
        "K": "keys",
        "C": "clipboard",
        "U": "files",
        "Z": "size",
        "D": "connection",
        "E": "exit",
        "L": "share",
    }
    for letter, panel in (panels | {"Q": "stop"}).items():
        page.keyboard.press(f"Control+Alt+Shift+{letter}")
        expect(page.locator(".panel")).to_be_visible()
        if panel == "exit":
            expect(page.get_by_role("meter")).to_be_visible()
        look(page, f"view-{panel}")
        page.keyboard.press(f"Control+Alt+Shift+{letter}")
    page.mouse.move(width / 2, 500)
    page.locator(".view-screen .typing").focus()
    expect(page.get_by_role("toolbar")).to_be_hidden()
    look(page, "view")
    oriel.host.refuse_viewers(True)
    oriel.host.cut("amber-lagoon")
    expect(page.locator(".view-line.warning")).to_be_visible()
    look(page, "view-lost")
    oriel.host.refuse_viewers(False)


def test_the_first_load_is_small(oriel: Oriel, open_page: OpenPage) -> None:
    """At most 150 KB come over the wire before the wall stands, and the viewer is not among them."""
    page = open_page("/")
    expect(page.locator(".empty")).to_be_visible()
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".filter(({name}) => !name.includes('/v1/')).map(({name, transferSize}) => [name, transferSize])"
    )
    assert sum(size for _, size in loaded) <= 150_000, loaded
    assert not any("rfb" in name for name, _ in loaded), loaded
