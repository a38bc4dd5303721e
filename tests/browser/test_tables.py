"""The quiet tables: what goes in, what comes out, and what never does."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Oriel


def test_a_proxy_goes_in_and_its_password_never_comes_out(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/proxies")
    form = page.get_by_role("form", name="Add a proxy")
    form.get_by_label("Name").fill("spare")
    form.get_by_label("Address with credentials").fill("gopher://nowhere")
    form.get_by_role("button", name="Add a proxy").click()
    expect(form.get_by_label("Address with credentials")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Address with credentials").fill("http://someone:s3cr3t-w0rd@proxy.example:8080")
    form.get_by_role("button", name="Add a proxy").click()
    row = page.get_by_role("row").filter(has_text="spare")
    expect(row).to_contain_text("proxy.example:8080")
    expect(row).to_contain_text("kept")
    page.reload()
    expect(row).to_be_visible()
    assert "s3cr3t" not in page.content()

    page.goto(f"{oriel.url}/")
    expect(page.locator(".empty")).to_be_visible()
    page.keyboard.press("n")
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_label("Way out")).to_contain_text("Proxy spare")

    page.goto(f"{oriel.url}/proxies")
    row.get_by_role("button", name="Delete spare").click()
    row.get_by_role("button", name="Delete for good").click()
    expect(row).to_have_count(0)


def test_a_token_is_shown_once_works_and_can_be_taken_back(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/tokens")
    form = page.get_by_role("form", name="Make a token")
    form.get_by_label("Name").fill("robot")
    form.get_by_role("button", name="Make a token").click()
    token = page.locator(".once code").inner_text()
    assert oriel.ask("GET", "/desktops", token=token)["items"] == []
    page.reload()
    row = page.get_by_role("row").filter(has_text="robot")
    expect(row).to_be_visible()
    assert token not in page.content()
    row.get_by_role("button", name="Delete robot").click()
    row.get_by_role("button", name="Delete for good").click()
    expect(row).to_have_count(0)
    answer = page.request.get(f"{oriel.url}/v1/desktops", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 401


def test_a_person_is_added_and_sees_only_what_is_theirs(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("mine")
    page = open_page("/people")
    form = page.get_by_role("form", name="Add a person")
    form.get_by_label("Name").fill("mia")
    form.get_by_role("button", name="Add a person").click()
    expect(page.get_by_role("row").filter(has_text="mia")).to_be_visible()
    token = oriel.ask("POST", "/tokens", {"user": "mia", "name": "browser"})["token"]
    hers = open_page("/", token=token)
    expect(hers.locator(".empty")).to_be_visible()
    hers.get_by_role("button", name="Menu").click()
    expect(hers.get_by_role("menuitem", name="People")).to_have_count(0)
    hers.goto(f"{oriel.url}/desktops/mine")
    expect(hers.get_by_text("There is no desktop called mine.")).to_be_visible()
    page.get_by_role("button", name="Delete mia").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("row").filter(has_text="mia")).to_have_count(0)


def test_images_and_the_audit_log_are_listed(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/images")
    row = page.get_by_role("row").filter(has_text="0123456789ab")
    expect(row).to_contain_text("1.5 GiB")
    oriel.desktop("noted")
    page.goto(f"{oriel.url}/audit")
    expect(page.get_by_role("row").filter(has_text="create").first).to_be_visible()


def test_snapshots_are_listed_with_their_sizes_and_deleted(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("kept")
    for name in ("one", "two"):
        oriel.ask("POST", "/desktops/kept/snapshots", {"name": name})
    page = open_page("/snapshots")
    expect(page.get_by_role("row").filter(has_text="one")).to_contain_text("kept")
    expect(page.get_by_text("Together 2 B on the disk.")).to_be_visible()
    expect(page.get_by_text("may grow to 8 GiB together.")).to_be_visible()
    page.get_by_role("button", name="Delete one").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("row").filter(has_text="one")).to_have_count(0)
    assert oriel.host.machine("kept").snapshots == ["two"]
    page.goto(f"{oriel.url}/templates")
    expect(page.get_by_role("heading", name="Waiting ready")).to_be_visible()


def test_beside_snapshots_stands_what_is_left_of_the_quota(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.ask("POST", "/users", {"name": "noa", "role": "user", "quota": {"disk_gib": 40}})
    token = oriel.ask("POST", "/tokens", {"user": "noa", "name": "browser"})["token"]
    page = open_page("/snapshots", token=token)
    expect(page.get_by_text("may grow to 0 GiB together, of the 40 GiB that you may have.")).to_be_visible()


def test_a_viewer_looks_and_changes_nothing(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("shown")
    oriel.ask("POST", "/users", {"name": "guest", "role": "viewer"})
    token = oriel.ask("POST", "/tokens", {"user": "guest", "name": "browser"})["token"]
    try:
        oriel.ask("PATCH", "/desktops/shown", {"owner": "guest"})
        page = open_page("/", token=token)
        expect(page.locator('[data-desktop="shown"] img')).to_be_visible()
        expect(page.get_by_role("button", name="New desktop")).to_have_count(0)
        expect(page.get_by_role("button", name="Actions for shown")).to_have_count(0)
        page.get_by_role("link", name="shown").click()
        expect(page.locator(".backdrop.away")).to_be_attached()
        page.locator(".view-screen canvas").click()
        page.keyboard.type("x")
        expect(page.get_by_text("Live, watching only")).to_be_attached()
        expect(page.get_by_role("button", name=re.compile("^Stop"))).to_have_count(0)
        page.reload()
        expect(page.locator(".backdrop.away")).to_be_attached()
        assert oriel.host.machine("shown").screen.keys == [], "a watcher has typed"
    finally:
        oriel.ask("DELETE", "/desktops/shown")
        oriel.ask("DELETE", "/users/guest")


def test_an_administrator_sets_role_password_and_quota(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.ask("POST", "/users", {"name": "carla"})
    page = open_page("/people")
    row = page.get_by_role("row").filter(has_text="carla")
    row.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Desktops").fill("many")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_label("Desktops")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Desktops").fill("2")
    dialog.get_by_label("Role").select_option("viewer")
    dialog.get_by_label("Password").fill("correct horse battery")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(row).to_contain_text("viewer")
    expect(row).to_contain_text("password, token")
    shown = oriel.ask("GET", "/users/carla")
    assert (shown["role"], shown["quota"], shown["has_password"]) == ("viewer", {"desktops": 2}, True)
