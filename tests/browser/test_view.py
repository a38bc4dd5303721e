"""The view: the screen, its keys and clipboard, and what happens when the connection does not hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from oriel.model.clipboard import TEXT
from tests.browser.conftest import OpenPage, Oriel, show_bar, until

# X keysyms (X11/keysymdef.h).
CONTROL, ALT, DELETE = 0xFFE3, 0xFFE9, 0xFFFF

PIXELS = """([selector, points]) => {
  const canvas = document.querySelector(selector);
  const context = canvas.getContext("2d");
  return points.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]);
}"""
WIDTH = "px => document.querySelector('.view-screen canvas').getBoundingClientRect().width === px"
TERMINAL, PAPER = (300, 650), (1000, 660)  # places in the painted screen


def live(page: Page) -> Page:
    """The page, once its desktop is live and keys go to it."""
    expect(page.locator(".backdrop.away")).to_be_attached()
    expect(page.locator(".view-screen .typing")).to_be_focused()
    return page


def pixels(page: Page, *points: tuple[int, int], of: str = ".view-screen canvas") -> list[list[int]]:
    return page.evaluate(PIXELS, [of, [list(point) for point in points]])


def test_the_first_frame_is_painted_and_fills_the_window(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk", size=(1280, 720)))
    terminal, paper = pixels(page, TERMINAL, PAPER)
    assert max(terminal[:3]) < 60
    assert min(paper) > 230
    box = page.locator(".view-screen canvas").bounding_box()
    assert box == {"x": 0, "y": 0, "width": 1280, "height": 720}


def test_typing_arrives_in_order_and_its_echo_is_seen(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    before = pixels(page, (44, 424))
    page.keyboard.type("ls -l; Az")
    page.keyboard.press("Enter")
    screen = oriel.host.machine("desk").screen
    expected = [ord(character) for character in "ls -l; Az"] + [0xFF0D]
    page.wait_for_function(f"before => ({PIXELS})(['.view-screen canvas', [[44, 424]]])[0] + '' !== before",
                           arg=",".join(map(str, before[0])))  # fmt: skip
    oriel_sees(page, lambda: (expected[-1], False) in screen.keys)
    pressed = [keysym for keysym, down in screen.keys if down and keysym not in (0xFFE1, 0xFFE2)]
    assert pressed == expected
    oriel_sees(page, lambda: not any(dict(screen.keys).values()))  # no key is stuck


def test_the_pointer_is_where_it_is_on_the_screen(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk", size=(640, 360)))
    page.mouse.click(320, 200)
    screen = oriel.host.machine("desk").screen
    oriel_sees(page, lambda: [buttons for buttons, _, _ in screen.pointer][-2:] == [1, 0])
    clicked = [(x, y) for buttons, x, y in screen.pointer if buttons == 1]
    assert all(abs(x - 640) <= 2 and abs(y - 400) <= 2 for x, y in clicked), clicked


def test_held_keys_are_released_when_the_window_loses_the_focus(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    page.keyboard.down("Control")
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    page.keyboard.type("x")
    keys = oriel.host.machine("desk").screen.keys
    oriel_sees(page, lambda: (CONTROL, False) in keys)
    assert keys.index((CONTROL, False)) > keys.index((CONTROL, True))


def test_no_modifier_stays_down_after_a_shortcut(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    page.keyboard.press("Control+Alt+Shift+C")
    expect(page.get_by_label("Clipboard of the desktop")).to_be_focused()
    page.keyboard.press("Control+Alt+Shift+C")
    expect(page.locator(".view-screen .typing")).to_be_focused()
    page.keyboard.type("x")
    keys = oriel.host.machine("desk").screen.keys
    oriel_sees(page, lambda: (ord("x"), False) in keys)
    last = dict(keys)
    assert not any(last.values()), f"still down: {last}"
    assert (ord("c"), True) not in keys
    assert (ord("C"), True) not in keys


def oriel_sees(page: Page, happened: Callable[[], object]) -> None:
    """Wait for something that arrives at the desktop."""
    until(page, happened, "it never arrived at the desktop")


def use(page: Page, tool: str) -> None:
    """Press one of the bar's buttons."""
    show_bar(page)
    page.get_by_role("toolbar").get_by_role("button", name=re.compile(f"^{tool}")).click()


def test_the_keys_panel_sends_what_the_browser_would_keep(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    keys = oriel.host.machine("desk").screen.keys
    use(page, "Keys")
    page.get_by_role("button", name="Ctrl Alt Del").click()
    chord = [(CONTROL, True), (ALT, True), (DELETE, True), (DELETE, False), (ALT, False), (CONTROL, False)]
    oriel_sees(page, lambda: keys[-6:] == chord)
    page.get_by_role("button", name="Shift", exact=True).click()
    oriel_sees(page, lambda: keys[-1] == (0xFFE1, True))
    page.get_by_label("On-screen keyboard").press_sequentially("a€")
    oriel_sees(page, lambda: (0x010020AC, False) in keys)
    page.keyboard.press("Escape")
    oriel_sees(page, lambda: keys[-1] == (0xFFE1, False))


def test_the_clipboard_goes_both_ways_and_is_only_text(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    agent = oriel.host.machine("desk").agent
    use(page, "Clipboard")
    field = page.get_by_label("Clipboard of the desktop")
    hostile = '<img src=x onerror="document.title=1">'
    oriel.host.copy("desk", hostile)
    expect(field).to_have_value(hostile)
    page.wait_for_function("async hostile => (await navigator.clipboard.readText()) === hostile", arg=hostile)
    field.fill("to the desktop")
    oriel_sees(page, lambda: agent.clips == {TEXT: b"to the desktop"})
    assert page.title() == "desk · Oriel"


def test_the_server_s_name_is_never_markup(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.host.name_screens(
        '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
    )
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    use(page, "Keys")
    assert page.title() == "desk · Oriel"
    assert page.locator("img[src=x]").count() == 0
    assert "onerror" not in page.content()


def test_no_parameter_of_the_address_chooses_where_the_viewer_connects(
    oriel: Oriel, open_page: OpenPage
) -> None:
    oriel.desktop("desk")
    wanted = "host=198.51.100.1&port=1&path=evil&encrypt=1&autoconnect=1&password=x&url=ws://198.51.100.1/"
    page = open_page("/desktops/desk")
    opened: list[str] = []
    page.on("websocket", lambda socket: opened.append(socket.url))
    page.goto(f"{page.url}?{wanted}")
    live(page)
    assert opened
    ours = page.evaluate("location.origin.replace(/^http/, 'ws') + '/v1/desktops/'")
    assert [url for url in opened if not url.startswith(ours)] == []


def test_a_lost_connection_keeps_the_last_frame_and_comes_back(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    oriel.host.refuse_viewers(True)
    oriel.host.cut("desk")
    expect(page.locator(".view-line")).to_contain_text("The connection is lost")
    terminal, paper = pixels(page, TERMINAL, PAPER, of=".backdrop-frame canvas")
    assert max(terminal[:3]) < 60
    assert min(paper) > 230
    dimmed = page.locator(".backdrop-frame canvas").evaluate("canvas => getComputedStyle(canvas).filter")
    assert "brightness(0.5)" in dimmed
    # Each try is shown only until the next: on a slow machine the second may be over before we look.
    expect(page.locator(".view-line")).to_contain_text(re.compile(r"Try ([2-9]|\d\d)"))
    oriel.host.refuse_viewers(False)
    live(page)
    expect(page.locator(".view-line")).to_have_count(0)
    page.keyboard.type("z")
    keys = oriel.host.machine("desk").screen.keys
    oriel_sees(page, lambda: (ord("z"), False) in keys)


def test_a_restarted_controller_is_found_again_by_the_viewer(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    oriel.kill_controller()
    expect(page.locator(".view-line")).to_contain_text("The connection is lost")
    oriel.start_controller()
    expect(page.locator(".backdrop.away")).to_be_attached()


def test_a_desktop_that_stops_offers_its_start_and_opens_again(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    use(page, "Stop")
    expect(page.get_by_text("Stop desk?")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("This desktop is stopped.")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    live(page)


def test_a_machine_that_dies_says_why(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    oriel.host.kill_machine("desk", "signal 9")
    expect(page.get_by_text("the machine ended: signal 9")).to_be_visible()
    expect(page.get_by_role("button", name="Start again")).to_be_visible()


def test_a_desktop_that_is_not_there_or_goes_away(oriel: Oriel, open_page: OpenPage) -> None:
    page = open_page("/desktops/nowhere")
    expect(page.get_by_text("There is no desktop called nowhere.")).to_be_visible()
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    oriel.ask("DELETE", "/desktops/desk")
    expect(page.get_by_text("This desktop has been deleted.")).to_be_visible()
    page.get_by_role("button", name="All desktops").last.click()
    expect(page.locator(".empty")).to_be_visible()


def test_the_bar_hides_comes_with_the_pointer_and_by_keyboard(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = open_page("/desktops/desk")
    page.mouse.move(600, 400)
    live(page)
    bar = page.get_by_role("toolbar", name="Desktop controls")
    expect(bar).to_be_hidden()
    page.mouse.move(600, 0)
    expect(bar).to_be_visible()
    page.mouse.move(600, 400)
    expect(bar).to_be_hidden()
    page.keyboard.press("Control+Alt+Shift+M")
    expect(bar).to_be_visible()
    expect(page.locator(".bar .icon-button").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    expect(page.locator(".view-screen .typing")).to_be_focused()


def test_size_and_picture(oriel: Oriel, open_page: OpenPage, tmp_path: Path) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk", size=(640, 400)))
    canvas = page.locator(".view-screen canvas")
    assert canvas.bounding_box()["width"] == 640  # type: ignore[index]
    for size, width in (("Real size, 1:1", 1280), ("Fit to the window", 640)):
        page.keyboard.press("Control+Alt+Shift+Z")
        page.get_by_label("Size", exact=True).select_option(size)
        page.wait_for_function(WIDTH, arg=width)
        page.keyboard.press("Control+Alt+Shift+Z")
    with page.expect_download() as download:
        page.keyboard.press("Control+Alt+Shift+S")
    target = tmp_path / "picture.png"
    download.value.save_as(target)
    head = target.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (1280, 720)
    assert download.value.suggested_filename.startswith("desk ")
