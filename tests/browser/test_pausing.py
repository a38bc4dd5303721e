"""Desktops put aside: how the wall and the view say so, and that nobody is woken who was not asked to."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, Oriel, until
from tests.browser.test_view import live

PAUSED = "This desktop is paused, with everything that is open in it."


def test_a_view_that_is_closed_by_a_pause_stays_closed_until_it_is_asked(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    machines(oriel)
    oriel.desktop("desk", runtime="qemu")
    page = live(open_page("/desktops/desk"))
    opened: list[str] = []
    page.on("websocket", lambda socket: opened.append(socket.url))
    oriel.ask("POST", "/desktops/desk/pause")
    expect(page.get_by_role("heading", name=PAUSED)).to_be_visible()
    keep_picture(page, "view-paused")
    # What makes everything that waits for its turn try at once; and a round trip, for what would come of it.
    page.evaluate("window.dispatchEvent(new Event('online'))")
    page.evaluate("fetch('/healthz').then((answer) => answer.text())")
    page.wait_for_timeout(1500)  # longer than the first pause before a try
    assert opened == []
    machine = oriel.host.machine("desk")
    assert (str(machine.state), machine.resumed) == ("paused", 0)
    page.get_by_role("button", name="Wake it").click()
    live(page)
    assert machine.resumed == 1


def test_a_guest_is_told_too_and_wakes_nobody(oriel: Oriel, open_page: OpenPage) -> None:
    """A guest hears of states later than of the end of the stream."""
    machines(oriel)
    oriel.desktop("desk", runtime="qemu")
    ticket = oriel.ask("POST", "/desktops/desk/tickets", {"mode": "control"})
    page = live(open_page(ticket["viewer_url"].removeprefix(oriel.url), signed_in=False))
    oriel.ask("POST", "/desktops/desk/pause")
    expect(page.get_by_role("heading", name=PAUSED)).to_be_visible()
    page.wait_for_timeout(1500)
    assert oriel.host.machine("desk").resumed == 0


def test_whoever_opens_one_that_is_put_aside_wakes_it(oriel: Oriel, open_page: OpenPage) -> None:
    machines(oriel)
    oriel.desktop("desk", runtime="qemu")
    oriel.ask("POST", "/desktops/desk/pause")
    page = open_page("/")
    expect(page.locator(".state.paused")).to_have_text("Paused")
    page.get_by_role("link", name="desk", exact=True).click()
    live(page)
    assert oriel.host.machine("desk").resumed == 1


def test_the_wall_pauses_and_resumes_and_a_container_is_said_to_freeze(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    machines(oriel)
    oriel.desktop("machine", runtime="qemu")
    oriel.desktop("box", runtime="container")
    page = open_page("/")
    for name, verb, word in (("machine", "Pause", "Paused"), ("box", "Freeze", "Frozen")):
        menu(page, name, verb)
        until(page, lambda name=name: str(oriel.host.machine(name).state) == "paused", "it was not paused")
        expect(page.locator(".state.paused", has_text=word)).to_be_visible()
    keep_picture(page, "wall-paused")
    menu(page, "box", "Resume")
    until(page, lambda: str(oriel.host.machine("box").state) == "running", "it was not resumed")
    expect(page.locator(".state.paused")).to_have_count(1)


def machines(oriel: Oriel) -> None:
    """This host has virtual machines too."""
    oriel.host.work("qemu")


def menu(page: Page, desktop: str, item: str) -> None:
    page.get_by_role("button", name=f"Actions for {desktop}").click()
    page.get_by_role("menuitem", name=item).click()
