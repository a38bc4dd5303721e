"""The wall: what it shows of every state, and everything that can be done from it."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage, Oriel, until


def card(page: Page, name: str) -> Locator:
    return page.locator(f'[data-desktop="{name}"]')


def test_an_empty_wall_says_what_to_do(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.get_by_text("A desktop is a computer of your own")).to_be_visible()
    page.locator(".empty").get_by_role("button", name="New desktop").click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_be_focused()
    expect(name).to_have_value(re.compile(r"^[a-z]+-[a-z]+$"))


def test_a_new_desktop_shows_its_real_steps_and_opens_by_itself(oriel: Oriel, open_page: OpenPage) -> None:
    release = oriel.host.hold("machine")
    page = open_page("/")
    expect(page.locator(".empty")).to_be_visible()
    page.keyboard.press("n")
    page.get_by_label("Name", exact=True).fill("fresh")
    page.get_by_role("button", name="Create").click()
    expect(page).to_have_url(f"{oriel.url}/desktops/fresh")
    steps = page.locator(".steps li")
    expect(steps.nth(1)).to_have_text(re.compile(r"^disk\d+ ms$"))
    expect(steps.nth(3)).to_have_class("now")
    expect(steps.nth(3)).to_have_text(re.compile(r"^machine\d+(\.\d)? m?s$"))
    expect(steps.nth(4)).to_have_text("system")

    wall = open_page("/")
    expect(card(wall, "fresh").locator(".steps li.done")).to_have_count(3)
    release()
    expect(page.locator(".backdrop.away")).to_be_attached()
    expect(page.get_by_role("application")).to_be_visible()
    expect(card(wall, "fresh").locator("img")).to_be_visible()
    expect(card(wall, "fresh").get_by_text("Running")).to_be_visible()


def test_the_still_on_the_wall_is_the_desktop_s_screen(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("painted")
    page = open_page("/")
    image = card(page, "painted").locator("img")
    expect(image).to_be_visible()
    colours = image.evaluate(
        """image => {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [1280, 720];
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0, 1280, 720);
          const colour = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
          return [colour(300, 650), colour(1000, 660)];
        }"""
    )
    terminal, paper = colours
    assert max(terminal) < 60, f"the terminal is dark, not {terminal}"
    assert min(paper) > 230, f"the browser's page is white, not {paper}"


def test_every_fault_of_the_form_stands_at_its_field(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_role("button", name="New desktop").first.click()
    page.get_by_label("Name", exact=True).fill("Not A Name")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Memory, MiB").fill("7")
    page.get_by_label("Processors").fill("many")
    page.get_by_role("button", name="Create").click()
    for label in ("Name", "Memory, MiB", "Processors"):
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile("."))
    expect(page.get_by_label("Disk, GiB")).to_have_attribute("aria-invalid", "false")
    assert oriel.ask("GET", "/desktops")["items"] == []


def test_a_taken_name_is_explained_in_the_form(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("taken")
    page = open_page("/")
    expect(card(page, "taken")).to_be_visible()
    page.keyboard.press("n")
    page.get_by_label("Name", exact=True).fill("taken")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator(".field-fault, .notice")).to_contain_text("taken")


def test_a_failed_desktop_says_why_and_what_to_do(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.host.fail_with("agent", "the machine did not answer within 60 s", "look at its console")
    oriel.ask("POST", "/desktops", {"name": "broken"})
    oriel.until("broken", "failed")
    page = open_page("/")
    broken = card(page, "broken")
    expect(broken).to_contain_text("the machine did not answer within 60 s")
    expect(broken).to_contain_text("look at its console")
    broken.get_by_text("Console", exact=True).click()
    expect(broken.locator("pre")).to_contain_text("Linux version")
    broken.get_by_role("button", name="Start again").click()
    expect(broken.get_by_text("Running")).to_be_visible()


def test_stop_start_and_delete(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("busy")
    page = open_page("/")
    busy = card(page, "busy")
    busy.get_by_role("button", name="Actions for busy").click()
    page.get_by_role("menuitem", name="Stop").click()
    expect(busy.locator(".card-picture.dimmed img")).to_be_visible()
    busy.get_by_role("button", name="Start").click()
    expect(busy.get_by_text("Running")).to_be_visible()

    busy.get_by_role("button", name="Actions for busy").click()
    page.get_by_role("menuitem", name="Delete").click()
    question = page.get_by_role("alertdialog", name="Delete busy?")
    expect(question.get_by_role("button", name="Keep it")).to_be_focused()
    question.get_by_role("button", name="Keep it").click()
    expect(busy.get_by_text("Running")).to_be_visible()
    busy.get_by_role("button", name="Actions for busy").click()
    page.get_by_role("menuitem", name="Delete").click()
    question.get_by_role("button", name="Delete for good").click()
    expect(busy).to_have_count(0)
    expect(page.locator(".empty")).to_be_visible()


def test_the_wall_by_keyboard(oriel: Oriel, open_page: OpenPage) -> None:
    for name in ("alpha", "beta", "gamma"):
        oriel.desktop(name)
    page = open_page("/")
    expect(page.locator(".card-open")).to_have_text(["gamma", "beta", "alpha"])
    page.keyboard.press("/")
    page.keyboard.type("be")
    expect(page.locator(".card-open")).to_have_text(["beta"])
    page.get_by_label("Filter desktops").fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="gamma")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="beta")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{oriel.url}/desktops/beta")
    page.go_back()
    expect(page.locator(".card")).to_have_count(3)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="What do you want to do?").fill("open al")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{oriel.url}/desktops/alpha")


def test_what_others_do_appears_by_itself(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.locator(".empty")).to_be_visible()
    oriel.desktop("elsewhere")
    expect(card(page, "elsewhere").get_by_text("Running")).to_be_visible()
    oriel.ask("DELETE", "/desktops/elsewhere")
    expect(card(page, "elsewhere")).to_have_count(0)


def test_a_lost_server_is_said_and_found_again(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("steady")
    page = open_page("/")
    expect(card(page, "steady").get_by_text("Running")).to_be_visible()
    oriel.kill_controller()
    expect(page.get_by_text("The connection to the server is lost")).to_be_visible()
    expect(card(page, "steady")).to_be_visible()
    oriel.start_controller()
    expect(page.get_by_text("The connection to the server is lost")).to_have_count(0)
    oriel.desktop("later")
    expect(card(page, "later").get_by_text("Running")).to_be_visible()


def test_the_way_out_is_shown_and_changed_while_it_runs(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    for name, url in (("one", "http://u:p@203.0.113.5:10001"), ("spare", "http://203.0.113.6:1-3")):
        oriel.ask("POST", "/proxies", {"name": name, "url": url, "exclusive": name == "one"})
    oriel.desktop("mine", proxy="one")
    page = open_page("/")
    badge = card(page, "mine").locator(".badge").first
    expect(badge).to_have_text("one")
    machine = oriel.host.machine("mine")
    for address in ("203.0.113.7", "203.0.113.8"):
        oriel.exits_by("mine", address)
        expect(badge).to_contain_text(address)
    expect(badge).to_contain_text("changed")
    expect(badge).to_have_attribute("title", re.compile("The world sees 203.0.113.8, in Germany"))
    expect(badge).to_have_attribute("title", re.compile("was 203.0.113.7 and has become 203.0.113.8"))

    page.get_by_role("button", name="Actions for mine").click()
    page.get_by_role("menuitem", name="Way out…").click()
    dialog = page.get_by_role("dialog", name="Way out of mine")
    expect(dialog).to_contain_text("was 203.0.113.7")
    dialog.get_by_label("Never to").fill("*.example.com, no spaces:0")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog.get_by_label("Never to")).to_have_attribute("aria-invalid", "true")
    keep_picture(page, "way-out")
    dialog.get_by_label("Never to").fill("*.example.com")
    dialog.get_by_label("Quota, GiB").fill("lots")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog.get_by_label("Quota, GiB")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Quota, GiB").fill("0.5")
    dialog.get_by_label("Keep a log of hosts and bytes").check()
    dialog.get_by_label("Way out", exact=True).select_option("spare")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog).to_have_count(0)
    expect(badge).to_have_text("spare")
    egress = machine.egress
    assert egress is not None
    policy = egress.policy
    assert (egress.proxy, policy.deny) == ("spare", ("*.example.com",))
    assert (policy.byte_quota, policy.access_log, policy.max_connections) == (1 << 29, True, 1024)
    page.goto(f"{oriel.url}/desktops/mine")
    expect(page.locator(".backdrop.away")).to_be_attached()
    page.keyboard.press("Control+Alt+Shift+E")
    panel = page.locator(".panel")
    expect(panel).to_contain_text("4.9 KiB")
    expect(panel).to_contain_text("a private address1")
    expect(panel).to_contain_text("Time to connect: half within 10 ms")
    expect(panel).to_contain_text("512 MiB of 512 MiB left")
    panel.get_by_text("Where it went").click()
    expect(panel.get_by_role("row")).to_have_text(["TimeHostInOut", re.compile(r"a\.test.*")])
    panel.get_by_role("button", name="Count anew").click()
    until(page, lambda: machine.egress and machine.egress.policy.quota_round == 1, "the quota begins anew")
    panel.get_by_label("Rate, MiB a second").fill("1.5")
    panel.get_by_role("button", name="Apply").click()
    until(
        page, lambda: machine.egress and machine.egress.policy.bytes_per_second == 3 << 19, "it is in force"
    )
    page.goto(f"{oriel.url}/proxies")
    expect(page.get_by_role("row").filter(has_text="spare")).to_contain_text("1 of 3")
    expect(page.get_by_role("row").filter(has_text="10001")).to_contain_text("exclusive")
    keep_picture(page, "proxies")
    oriel.clear()
    for name in ("one", "spare"):
        oriel.ask("DELETE", f"/proxies/{name}")
