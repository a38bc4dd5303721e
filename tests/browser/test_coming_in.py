"""Tokens and tickets: who gets in, and what is left of the secret in the browser."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Oriel


def test_a_token_in_the_address_signs_in_and_leaves_no_trace(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page(f"/#token={oriel.token}", signed_in=False)
    expect(page.get_by_role("heading", name="Desktops")).to_be_visible()
    assert page.url == f"{oriel.url}/"
    kept = page.evaluate(
        "JSON.stringify([history.state, {...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert oriel.token not in kept
    page.reload()
    expect(page.get_by_role("heading", name="Desktops")).to_be_visible()


def test_the_form_signs_in_and_a_wrong_token_is_explained_in_place(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/", signed_in=False)
    field = page.get_by_label("Access token")
    expect(field).to_be_focused()
    field.fill("not-a-token")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(field).to_have_value("not-a-token")
    field.fill(oriel.token)
    field.press("Enter")
    expect(page.get_by_role("heading", name="Desktops")).to_be_visible()


def test_signing_out_ends_the_session(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("Access token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Access token")).to_be_visible()
    assert page.request.get(f"{oriel.url}/v1/desktops").status == 401


def test_a_shared_link_lets_a_stranger_watch_one_desktop_and_nothing_else(
    oriel: Oriel, open_page: OpenPage
) -> None:
    oriel.desktop("shared")
    oriel.desktop("other")
    owner = open_page("/desktops/shared")
    expect(owner.locator(".backdrop.away")).to_be_attached()
    owner.keyboard.press("Control+Alt+Shift+L")
    owner.get_by_role("button", name="Make a link").click()
    link = owner.get_by_label("Link").input_value()
    typed = len(oriel.host.machine("shared").screen.keys)

    guest = open_page(link.removeprefix(oriel.url), signed_in=False)
    expect(guest.locator(".backdrop.away")).to_be_attached()
    expect(guest.get_by_text("Live, watching only")).to_be_attached()
    assert guest.url == f"{oriel.url}/desktops/shared"
    guest.keyboard.type("let me in")
    expect(guest.get_by_role("button", name=re.compile("^Keys"))).to_have_count(0)
    expect(guest.get_by_role("button", name=re.compile("^All desktops"))).to_have_count(0)
    assert guest.request.get(f"{oriel.url}/v1/desktops").status == 401

    # The grant stays with the tab: a broken connection comes back, and so does a reloaded page.
    oriel.host.cut("shared")
    expect(guest.locator(".view-line.warning")).to_be_visible()
    expect(guest.locator(".backdrop.away")).to_be_attached()
    guest.reload()
    expect(guest.locator(".backdrop.away")).to_be_attached()
    assert len(oriel.host.machine("shared").screen.keys) == typed, "a watcher has typed"

    again = open_page(link.removeprefix(oriel.url), signed_in=False)
    expect(again.get_by_role("alert")).not_to_be_empty()


def test_an_owner_shares_with_a_user_sees_who_has_what_and_ends_it(oriel: Oriel, open_page: OpenPage) -> None:
    for name in ("ann", "bob"):
        oriel.ask("POST", "/users", {"name": name, "role": "user"})
    tokens = {
        name: oriel.ask("POST", "/tokens", {"user": name, "name": "page"})["token"] for name in ("ann", "bob")
    }
    oriel.ask("POST", "/desktops", {"name": "anns"}, tokens["ann"])
    oriel.until("anns", "running")
    owner = open_page("/desktops/anns", token=tokens["ann"])
    expect(owner.locator(".backdrop.away")).to_be_attached()
    owner.keyboard.press("Control+Alt+Shift+L")
    panel = owner.locator(".share")
    expect(panel.get_by_text("Nobody but you yet.")).to_be_visible()
    panel.get_by_label("User").fill("nobody-here")
    panel.get_by_role("button", name="Share with them").click()
    expect(panel.get_by_text("there is no user 'nobody-here'")).to_be_visible()
    panel.get_by_label("User").fill("bob")
    panel.get_by_role("button", name="Share with them").click()
    expect(panel.get_by_role("listitem").filter(has_text="bob")).to_contain_text("watch")
    owner.get_by_role("button", name="Make a link").click()
    expect(panel.get_by_role("listitem").filter(has_text="A link")).to_be_visible()

    other = open_page("/desktops/anns", token=tokens["bob"])
    expect(other.get_by_text("Live, watching only")).to_be_attached()
    other.keyboard.press("Control+Alt+Shift+L")
    expect(other.get_by_text("Only its owner shares this desktop.")).to_be_visible()

    panel.get_by_role("button", name="End bob’s share").click()
    expect(panel.get_by_role("listitem").filter(has_text="bob")).to_have_count(0)
    expect(other.get_by_text("Live, watching only")).to_have_count(0)
    panel.get_by_role("button", name="End this link").click()
    expect(panel.get_by_text("Nobody but you yet.")).to_be_visible()


def test_a_person_with_a_password_comes_in_by_it_and_changes_it(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.ask("POST", "/users", {"name": "berta", "password": "correct horse battery"})
    page = open_page("/", signed_in=False)
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Name").fill("berta")
    page.get_by_label("Password").fill("wrong horse battery")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_role("heading", name="Desktops")).to_be_visible()

    page.get_by_role("button", name="Menu").click()
    page.get_by_role("menuitem", name="Change password").click()
    page.get_by_label("Password until now").fill("correct horse battery")
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("must have 12 to 256 letters")).to_be_visible()
    page.get_by_label("New password").fill("staple gun and paper")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.request.get(f"{oriel.url}/v1/session").status == 200

    other = open_page("/", signed_in=False)
    other.get_by_role("button", name="access token instead").click()
    other.get_by_label("Access token").fill(oriel.token)
    other.get_by_label("Access token").press("Enter")
    expect(other.get_by_role("heading", name="Desktops")).to_be_visible()
    oriel.ask("DELETE", "/users/berta")


def test_why_signing_on_elsewhere_failed_is_said(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/#sign-on=nobody", signed_in=False)
    expect(page.get_by_role("alert")).to_contain_text("nobody has added you here yet")
    assert page.url == f"{oriel.url}/"
    page = open_page("/#sign-on=<img src=x onerror=alert(1)>", signed_in=False)
    expect(page.get_by_role("alert")).to_contain_text("did not work")
