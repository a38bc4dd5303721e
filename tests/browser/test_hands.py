"""What goes between a person and a desktop besides the picture: clipboard, files, films, composed keys."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from oriel.controller.picture import encode_png, from_bgrx
from oriel.model.clipboard import HTML, IMAGE, TEXT
from tests.browser.conftest import OpenPage, Oriel, show_bar, until
from tests.browser.test_view import live

PICTURE = encode_png(from_bgrx(bytes((200, 90, 40, 0)) * 64 * 48, 64, 48, 256))
CONTROL, RETURN = 0xFFE3, 0xFF0D
HOSTILE = (
    '<p onclick="alert(1)">Kept <b>bold</b><script>document.title="owned"</script>'
    '<img src="http://198.51.100.7/spy.png" onerror="document.title=\'owned\'">'
    '<img src="data:image/png;base64,AAAA"><a href="javascript:alert(1)">link</a>'
    '<span style="background:url(http://198.51.100.7/spy)">styled</span><iframe></iframe></p>'
)
HERE = """async () => {
  const [item] = await navigator.clipboard.read();
  const told = {};
  for (const type of item.types) {
    const blob = await item.getType(type);
    told[type] = type.startsWith("text/") ? await blob.text() : blob.size;
  }
  return told;
}"""
COPY = """async ([type, data]) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const parts = { [type]: new Blob([bytes], { type }) };
  if (type === "text/html") parts["text/plain"] = new Blob(["fett"], { type: "text/plain" });
  await navigator.clipboard.write([new ClipboardItem(parts)]);
}"""


def copy_here(page: Page, kind: str, data: bytes) -> None:
    page.evaluate(COPY, [kind, base64.b64encode(data).decode()])


def test_what_is_copied_in_the_desktop_is_here_without_what_could_harm(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk", hostile=True))
    agent = oriel.host.machine("desk").agent
    oriel.host.act(agent.copy, text=b"Kept bold", html=HOSTILE.encode())
    here = until_here(page, "text/html")
    assert here["text/plain"] == "Kept bold"
    assert "<b>bold</b>" in here["text/html"]
    for harm in ("script", "onclick", "onerror", "198.51.100.7", "javascript:", "iframe"):
        assert harm not in here["text/html"], harm
    page.keyboard.press("Control+Alt+Shift+C")
    expect(page.get_by_label("Clipboard of the desktop")).to_have_value("Kept bold")
    expect(page.get_by_text("It has formatting too")).to_be_visible()
    oriel.host.act(agent.copy, image=PICTURE)
    expect(page.get_by_alt_text("The picture on the desktop's clipboard")).to_have_js_property(
        "naturalWidth", 64
    )
    assert until_here(page, "image/png")["image/png"] > 0
    keep_picture(page, "view-clipboard-picture")
    assert page.title() == "desk · Oriel"


def until_here(page: Page, kind: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}

    def there() -> bool:
        found.clear()
        found.update(page.evaluate(HERE))
        return kind in found

    until(page, there, f"{kind} on this computer's clipboard")
    return found


def test_what_is_pasted_is_there_before_the_key_that_pastes_it(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    machine = oriel.host.machine("desk")
    keys = machine.screen.keys
    at_key: list[dict[str, bytes]] = []
    original = machine.screen.note

    async def note(what: tuple) -> None:
        if what == ("key", ord("v"), True):
            at_key.append(dict(machine.agent.clips))
        await original(what)

    machine.screen.note = note  # type: ignore[method-assign]
    for kind, data in (("text/html", b"<b>fett</b>"), ("image/png", PICTURE)):
        copy_here(page, kind, data)
        keys.clear()
        page.keyboard.press("Control+v")
        page.keyboard.press("Enter")
        until(page, lambda: (RETURN, False) in keys, "the keys behind it")
        pressed = [keysym for keysym, down in keys if down]
        assert pressed == [CONTROL, ord("v"), RETURN]
    assert [set(clips) for clips in at_key] == [{TEXT, HTML}, {IMAGE}]
    assert b"<b>fett</b>" in at_key[0][HTML]
    assert at_key[0][TEXT] == b"fett"


def test_a_clipboard_that_is_closed_says_so_and_its_owner_opens_it(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None]
) -> None:
    oriel.desktop("desk", clipboard="off")
    page = live(open_page("/desktops/desk"))
    agent = oriel.host.machine("desk").agent
    page.evaluate("navigator.clipboard.writeText('from here')")
    page.keyboard.press("Control+v")
    expect(page.get_by_role("alert")).to_contain_text("What you pasted did not come to the desktop")
    expect(page.get_by_role("alert")).to_contain_text("its clipboard is closed that way")
    keep_picture(page, "view-clipboard-closed")
    oriel.host.act(agent.copy, text=b"secret")
    assert agent.clips == {TEXT: b"secret"}
    page.keyboard.press("Control+Alt+Shift+C")
    field = page.get_by_label("Clipboard of the desktop")
    expect(field).to_have_value("")
    expect(field).to_have_attribute("readonly", "")
    page.get_by_label("It goes").select_option("both ways")
    expect(field).not_to_have_attribute("readonly", "")
    oriel.host.act(agent.copy, text=b"open now")
    expect(field).to_have_value("open now")


def test_what_an_input_method_composes_on_the_picture_is_typed(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    keys = oriel.host.machine("desk").screen.keys
    devtools = page.context.new_cdp_session(page)
    for step in ("に", "にほ", "日本"):
        devtools.send(
            "Input.imeSetComposition", {"text": step, "selectionStart": 0, "selectionEnd": len(step)}
        )
    devtools.send("Input.insertText", {"text": "日本語"})
    page.keyboard.press("Enter")
    until(page, lambda: (RETURN, False) in keys, "what comes behind it")
    assert [chr(keysym - 0x01000000) for keysym, down in keys if down and keysym > 0x01000000] == list(
        "日本語"
    )
    keys.clear()
    # A dead key composes too: nothing is typed before its letter.
    for kind in ("rawKeyDown", "keyUp"):
        dead = {"key": "Dead", "code": "Equal", "windowsVirtualKeyCode": 229}
        devtools.send("Input.dispatchKeyEvent", {"type": kind, **dead})
    devtools.send("Input.imeSetComposition", {"text": "´", "selectionStart": 0, "selectionEnd": 1})
    devtools.send("Input.insertText", {"text": "é"})
    page.keyboard.press("Enter")
    until(page, lambda: (RETURN, False) in keys, "what comes behind it")
    assert [keysym for keysym, down in keys if down] == [0xE9, RETURN]


def test_a_finished_download_is_offered_and_saved_whatever_its_name(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None], tmp_path: Path
) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    agent = oriel.host.machine("desk").agent
    until(page, lambda: agent.watchers, "somebody who waits for downloads")
    hostile = '<img src=x onerror="document.title=1">\u202egpj.exe\n'
    for name, data in (("report.pdf", b"%PDF-1.7"), (hostile, b"MZ")):
        oriel.host.act(agent.download, name, data)
    cards = page.get_by_role("list", name="Finished downloads").get_by_role("listitem")
    expect(cards).to_have_count(2)
    keep_picture(page, "view-downloads")
    shown = cards.last.locator("bdi").inner_text()
    assert shown == '<img src=x onerror="document.title=1">\ufffdgpj.exe\ufffd'
    for card, content in ((cards.last, b"MZ"), (cards.first, b"%PDF-1.7")):
        with page.expect_download() as download:
            card.get_by_role("link").click()
        assert not {"/", "\u202e", "\n"} & set(download.value.suggested_filename)
        target = tmp_path / secrets.token_hex(4)
        download.value.save_as(target)
        assert target.read_bytes() == content
    expect(cards).to_have_count(0)
    oriel.host.act(agent.download, "again.txt", b"x")
    cards.get_by_role("button", name="Leave again.txt in the desktop").click()
    expect(cards).to_have_count(0)
    assert page.title() == "desk · Oriel"


def test_an_upload_that_breaks_off_goes_on_where_it_was(
    oriel: Oriel, open_page: OpenPage, keep_picture: Callable[[Page, str], None], tmp_path: Path
) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    agent = oriel.host.machine("desk").agent
    source = tmp_path / "large.bin"
    source.write_bytes(secrets.token_bytes(20 << 20))
    page.keyboard.press("Control+Alt+Shift+U")
    # The second piece breaks off, once.
    page.route("**/files?*upload=*", lambda route: route.abort() if breaks.pop() else route.fallback())
    breaks = [False] * 50 + [True, False]
    page.get_by_label("Choose files").set_input_files(source)
    expect(page.get_by_text("It goes on where it was")).to_be_visible()
    keep_picture(page, "view-upload-waiting")
    name = "/home/user/Downloads/large.bin"
    until(page, lambda: agent.files.get(name) == source.read_bytes(), "all of the file")
    assert sum(verb == "file_append" for verb, _ in agent.asked) == 2, "what had come was sent again"
    expect(page.locator(".upload progress").last).to_have_js_property("value", 1)


def test_an_upload_is_given_up_without_a_trace(oriel: Oriel, open_page: OpenPage, tmp_path: Path) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    agent = oriel.host.machine("desk").agent
    source = tmp_path / "large.bin"
    source.write_bytes(bytes(20 << 20))
    page.keyboard.press("Control+Alt+Shift+U")
    # The second piece never goes: the first has come by then.
    page.route(
        "**/files?*",
        lambda r: None if "bytes 16777216" in r.request.headers.get("content-range", "") else r.fallback(),
    )
    page.get_by_label("Choose files").set_input_files(source)
    until(page, lambda: any(len(come) == 16 << 20 for come in agent.begun.values()), "the first piece")
    page.get_by_role("button", name="Cancel large.bin").click()
    until(page, lambda: not agent.begun, "that it was given up")
    expect(page.locator(".upload")).to_have_count(0)
    assert "/home/user/Downloads/large.bin" not in agent.files


def test_a_film_is_recorded_and_saved(oriel: Oriel, open_page: OpenPage, tmp_path: Path) -> None:
    oriel.desktop("desk")
    page = live(open_page("/desktops/desk"))
    show_bar(page)
    button = page.get_by_role("toolbar").get_by_role("button", name="Record a film")
    button.click()
    running = page.get_by_role("toolbar").get_by_role("button", name="End the film and save it")
    expect(running).to_have_attribute("aria-pressed", "true")
    page.locator(".view-screen .typing").focus()
    page.keyboard.type("something moves")
    screen = oriel.host.machine("desk").screen
    until(page, lambda: screen.keys, "that something moves")
    page.wait_for_timeout(1200)  # a film is gathered by the second
    with page.expect_download() as download:
        page.keyboard.press("Control+Alt+Shift+R")
    target = tmp_path / "film.webm"
    download.value.save_as(target)
    assert target.read_bytes()[:4] == b"\x1a\x45\xdf\xa3"  # EBML, which WebM is
    assert download.value.suggested_filename.startswith("desk ")
    expect(button).to_be_attached()


def test_the_bar_pauses_and_is_used_with_the_keyboard_alone(oriel: Oriel, open_page: OpenPage) -> None:
    oriel.host.work("qemu")
    oriel.desktop("desk", runtime="qemu")
    page = live(open_page("/desktops/desk"))
    page.mouse.move(600, 400)
    expect(page.get_by_role("toolbar", name="Desktop controls")).to_be_hidden()
    page.keyboard.press("Control+Alt+Shift+M")
    focused = page.locator(":focus")
    expect(page.locator(".bar .icon-button").first).to_be_focused()
    names = []
    for _ in range(len(page.locator(".bar button").all())):
        names.append((focused.get_attribute("aria-label") or focused.inner_text()).splitlines()[0])
        page.keyboard.press("Tab")
    for wanted in (
        "Keys",
        "Clipboard",
        "Save a picture",
        "Record a film",
        "Files",
        "Size",
        "Share",
        "Full screen",
    ):
        assert wanted in names, names
    page.get_by_role("toolbar").get_by_role("button", name="Size").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Size", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".view-screen .typing")).to_be_focused()
    page.keyboard.press("Control+Alt+Shift+M")
    expect(page.locator(".bar .icon-button").first).to_be_focused()  # which would take the focus back
    page.get_by_role("toolbar").get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    until(page, lambda: str(oriel.host.machine("desk").state) == "paused", "it was not paused")
    expect(page.get_by_role("button", name="Wake it")).to_be_visible()
    assert not any(dict(oriel.host.machine("desk").screen.keys).values())
