"""Checks by hand: keys through the remote desktop, and what they bring about."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from oriel.client.picture import Area
from oriel.client.values import Channel
from oriel.client.verify.chrome import Chrome, PageState
from oriel.client.verify.inspection import Inspection
from oriel.client.verify.paint import BAR_HEIGHT
from oriel.client.verify.report import UnmetError
from oriel.client.viewer import Viewer
from oriel.model.errors import UnavailableError, WireError

__all__ = ["browser_navigates", "terminal_typing"]

TYPED_DEADLINE_S = 30.0
SHOWN_DEADLINE_S = 10.0
KEY_DEADLINE_S = 2.0
ADDRESS_Y = 62  # pixels down into Chrome's window: the middle of its address bar
FAR_APART = 40  # pixels between two clicks that are not a double click
PAGE_DEADLINE_S = 60.0
TYPED_PIXELS = 200  # a line of 40 characters paints thousands; a blinking cursor fewer than this
COLOUR_SHARE = 0.1  # of the window, for each of four colours that fill a page; tool bars take the rest

# Serves one page, on a port of the system's choosing, and says which; ends when its input does.
_PAGE_SERVER = """
import http.server, sys, threading
page = sys.argv[1].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
    def log_request(self, code="-", size="-"):
        print("asked", self.path, flush=True)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("port", server.server_port, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
"""


async def terminal_typing(inspection: Inspection) -> str:
    """A command typed by keys writes a word of ours into a pipe that we read from inside."""
    viewer = inspection.seeing()
    _, area = await inspection.window("terminal")
    word = secrets.token_hex(8)
    pipe = f"/tmp/oriel-verify-{word}"  # noqa: S108 - in the guest, made by mkfifo, unguessable
    made = await inspection.run("mkfifo", "-m", "600", pipe, timeout_s=TYPED_DEADLINE_S)
    if made.exit_code:
        raise UnmetError(f"no pipe could be made in the desktop: {made.stderr.strip()}")
    try:
        before = viewer.picture(area)
        async with await inspection.desktop.command(["cat", pipe], timeout_s=TYPED_DEADLINE_S) as reading:
            await _take_focus(viewer, area, *area.centre)
            # A leading space keeps it out of the shell's history.
            await viewer.type(f" printf %s {word} > {pipe}\n")
            read = b"".join([data async for channel, data in reading if channel == Channel.STDOUT])
        if read != word.encode():
            raise UnmetError(
                f"what was typed did not arrive within {TYPED_DEADLINE_S:g} s; is the terminal at a prompt?"
            )
        await viewer.until(
            lambda: viewer.picture(area).differing(before) >= TYPED_PIXELS,
            deadline_s=SHOWN_DEADLINE_S,
            what="the typed line in the terminal's picture",
        )
    finally:
        await inspection.run("rm", "-f", pipe, timeout_s=TYPED_DEADLINE_S)
    changed = viewer.picture(area).differing(before)
    return f"a typed command's output was read back inside; {changed} pixels of the terminal changed"


async def browser_navigates(inspection: Inspection) -> str:
    """By ctrl+L, URL and Enter: to a page of our own, known by its pixels; then, online, to the URL."""
    _, area = await inspection.window("browser")
    own = await _goes_to_own_page(inspection, area)
    if not inspection.online:
        return f"{own}; the URL is out of reach"
    return f"{own}; {await _goes_to_url(inspection, area)}"


async def _goes_to_url(inspection: Inspection, area: Area) -> str:
    viewer = inspection.seeing()
    before = viewer.picture(area)
    async with await inspection.desktop.cdp() as socket:
        chrome = Chrome(socket)
        pages = await chrome.attach_pages()
        if not pages:
            raise UnmetError("Chrome has no page open")
        await _ask_for(inspection, area, inspection.url)
        state = await _loaded(chrome, pages, inspection.url)
    await viewer.until(
        lambda: viewer.picture(area).differing(before) >= area.pixels * COLOUR_SHARE,
        deadline_s=SHOWN_DEADLINE_S,
        what="another page in the browser's picture",
    )
    return f"{inspection.url}: HTTP {state.status}, loaded as {state.href} ({state.title[:60]!r})"


async def _loaded(chrome: Chrome, pages: list[str], url: str) -> PageState:
    """Until a page that was asked for by typing `url` is loaded."""
    last: PageState | None = None
    try:
        async with asyncio.timeout(PAGE_DEADLINE_S):
            while True:
                for page in pages:
                    try:
                        state = await chrome.state_of(page)
                    except WireError:
                        # Between two documents Chrome has no active page to ask; the event that ends
                        # this is waited for below.
                        continue
                    if state.typed.rstrip("/") == url.rstrip("/"):
                        last = state
                        if state.complete and 200 <= state.status < 400:
                            return state
                await chrome.page_event()
    except TimeoutError as error:
        if last is None:
            raise UnmetError(f"Chrome was not asked for {url}: the typed keys did not arrive") from error
        what = "an error page" if last.href.startswith("chrome-error:") else f"HTTP {last.status}"
        after = f"after {PAGE_DEADLINE_S:g} s"
        raise UnmetError(f"{after} Chrome shows {what} for {url} ({last.title[:60]!r})") from error


async def _goes_to_own_page(inspection: Inspection, area: Area) -> str:
    """Four colours chosen now, served inside the desktop on its loopback, then looked for on the screen."""
    viewer = inspection.seeing()
    colours = [(secrets.randbelow(256), secrets.randbelow(256), secrets.randbelow(256)) for _ in range(4)]
    word = secrets.token_hex(8)
    async with _page_server(inspection, _page(word, colours)) as port:
        await _ask_for(inspection, area, f"http://127.0.0.1:{port}/{word}")

        def shown() -> bool:
            picture = viewer.picture(area)
            return all(picture.share_of(colour) >= COLOUR_SHARE for colour in colours)

        what = "the check's own page in the browser's picture"
        await viewer.until(shown, deadline_s=PAGE_DEADLINE_S, what=what)
    return f"a page of the check's own filled {area} with its four colours"


async def _ask_for(inspection: Inspection, area: Area, url: str) -> None:
    viewer = inspection.seeing()
    bar = Area(area.x, area.y, area.width, BAR_HEIGHT)
    await _take_focus(viewer, bar, area.centre[0], area.y + ADDRESS_Y)
    await _and_seen(viewer, bar, viewer.press("ctrl", "l"))
    for character in url:
        await _and_seen(viewer, bar, viewer.type(character))
    await viewer.press("delete")  # what the address bar completed by itself
    await viewer.press("return")


async def _take_focus(viewer: Viewer, area: Area, x: int, y: int) -> None:
    """Click until that shows: a cursor fills, a caret appears. An open menu elsewhere swallows a click."""
    if not await _and_seen(viewer, area, viewer.click(x, y)):
        # Apart from the first one, or it would be a double click.
        await _and_seen(viewer, area, viewer.click(x - FAR_APART, y))


async def _and_seen(viewer: Viewer, area: Area, act: Awaitable[None]) -> bool:
    """Go on when it shows, as people do: keys are lost while a focus moves. False if nothing showed."""
    before = viewer.picture(area)
    await act
    try:
        await viewer.until(
            lambda: viewer.picture(area).differing(before) > 0, deadline_s=KEY_DEADLINE_S, what="its effect"
        )
    except UnavailableError:
        return False  # it may change nothing; what counts is what comes of it all
    return True


def _page(word: str, colours: list[tuple[int, int, int]]) -> str:
    cells = "".join(f'<i style="background:rgb{colour}"></i>' for colour in colours)
    style = "html,body{margin:0;height:100%}body{display:grid;grid-template:1fr 1fr/1fr 1fr}"
    return f"<!doctype html><title>{word}</title><style>{style}</style>{cells}"


@asynccontextmanager
async def _page_server(inspection: Inspection, page: str) -> AsyncIterator[int]:
    argv = ["python3", "-c", _PAGE_SERVER, page]
    async with await inspection.desktop.command(argv, timeout_s=2 * PAGE_DEADLINE_S) as server:
        said = b""
        async for _, data in server:
            said += data
            if b"\n" in said:
                break
        word, _, port = said.partition(b"\n")[0].partition(b" ")
        if word != b"port":
            raise UnmetError(
                f"no page could be served in the desktop: {said.decode(errors='replace').strip()}"
            )
        yield int(port)
        await server.close_input()
