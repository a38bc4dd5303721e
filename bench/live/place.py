"""Where a live view is measured: a desktop of ours, or a rival's screen on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from websockets.asyncio.server import ServerConnection, serve

from bench.server import ROOT
from oriel.client import Oriel

__all__ = ["LOADS", "SCROLL", "SIZE", "Rival", "chromium", "desktop", "loaded", "page_of", "rival"]

SIZE = "1280x720"
AS_USER = ("--uid=user", "--setenv=DISPLAY=:1", "--working-directory=/home/user")
LOADS = ("idle", "scrolling", "full")
HERE = Path(__file__).parent
# Full lines of text, as fast as the terminal takes them.
SCROLL = "while :; do seq -s ' ' 10000 99999 | fold -w 99; done"
NOVNC = ROOT / "web/node_modules/@novnc/novnc"


@contextlib.contextmanager
def chromium(program: Path | None = None, url: str = "") -> Iterator[Browser]:
    """`program`: what starts it, if it is to stand elsewhere; the page of `url` counts as safe then."""
    safe = [f"--unsafely-treat-insecure-origin-as-secure={url}"] if url else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program or shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *safe],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page_of(browser: Browser, url: str) -> Iterator[Page]:
    """An empty page of that origin with the measuring viewer in it; noVNC's files are served beside it."""
    page = browser.new_page(viewport={"width": 1300, "height": 740}, bypass_csp=True)
    page.route(
        "**/bench/novnc/**",
        lambda route: route.fulfill(path=NOVNC / route.request.url.partition("/novnc/")[2]),
    )
    page.goto(f"{url}/healthz")
    page.add_script_tag(path=HERE / "viewer.js")
    try:
        yield page
    finally:
        page.close()


@contextlib.contextmanager
def desktop(client: Oriel, runtime: str = "container") -> Iterator[Any]:
    """A desktop of ours, with the marker's program in it."""
    made = client.desktops.create(
        f"bench-{secrets.token_hex(3)}", runtime=runtime, proxy="none", deadline_s=600
    )
    try:
        with (HERE / "marker.py").open("rb") as source:
            made.files.upload(source, "/home/user/marker.py")
        yield made
    finally:
        made.delete()


@contextlib.contextmanager
def loaded(made: Any, load: str) -> Iterator[None]:
    """The marker on our desktop's screen, with a terminal that scrolls or a screen that changes."""
    marker = ["python3", "marker.py", *(("--full", SIZE) if load == "full" else ())]
    units = {"marker": marker}
    if load == "scrolling":
        units["scroll"] = ["xterm", "-geometry", "100x40+300+100", "-e", "sh", "-c", SCROLL]
    for name, argv in units.items():
        run = ["systemd-run", "--quiet", "--collect", f"--unit=bench-{name}"]
        made.exec(["sudo", *run, *AS_USER, *argv])
    try:
        yield
    finally:
        made.exec(["sudo", "systemctl", "stop", *(f"bench-{name}" for name in units)])


@dataclass(frozen=True)
class Rival:
    """A screen that another program shows by RFB, behind a WebSocket."""

    url: str
    display: str

    @contextlib.contextmanager
    def loaded(self, load: str) -> Iterator[None]:
        environment = {**os.environ, "DISPLAY": self.display}
        argv = [[sys.executable, HERE / "marker.py", *(("--full", SIZE) if load == "full" else ())]]
        if load == "scrolling":
            argv.append(["xterm", "-geometry", "100x40+300+100", "-e", "sh", "-c", SCROLL])
        started = [subprocess.Popen(one, env=environment, stdout=subprocess.DEVNULL) for one in argv]
        try:
            yield
        finally:
            for process in started:
                process.terminate()
                process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def rival(name: str, host: str = "127.0.0.1") -> Iterator[Rival]:
    """`x11vnc` as it is without options beside an Xvfb, or `xvnc` (TigerVNC), reached at `host`."""
    port, place = _free_port(), tempfile.mkdtemp(prefix="bench-live-")
    reading, writing = os.pipe()
    xvfb = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp"]
    xvnc = ["Xvnc", "-displayfd", str(writing), "-geometry", SIZE, "-depth", "24", "-rfbport", str(port),
            "-localhost", "-SecurityTypes", "None"]  # fmt: skip
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(xvnc if name == "xvnc" else xvfb, pass_fds=(writing,), **quiet)]
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            display = f":{told.readline().strip()}"
        if name == "x11vnc":
            argv = [
                "x11vnc",
                "-display",
                display,
                "-rfbport",
                str(port),
                "-localhost",
                "-nopw",
                "-forever",
                "-shared",
            ]
            started.append(subprocess.Popen(argv, **quiet))
        with _relay(port, host) as url:
            yield Rival(url, display)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        shutil.rmtree(place)


@contextlib.contextmanager
def _relay(port: int, host: str) -> Iterator[str]:
    """A WebSocket in front of a TCP port, as websockify is."""
    ready: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []
    there = threading.Event()

    async def each(websocket: ServerConnection) -> None:
        for _ in range(100):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        else:
            raise OSError(f"nothing listens on {port}")

        async def outward() -> None:
            while data := await reader.read(65536):
                await websocket.send(data)

        task = asyncio.create_task(outward())
        async for message in websocket:
            writer.write(message if isinstance(message, bytes) else message.encode())
        task.cancel()
        writer.close()

    async def run() -> None:
        stop = asyncio.Event()
        async with serve(each, host, 0, compression=None, max_size=None) as server:
            number = next(iter(server.sockets)).getsockname()[1]
            ready.append((f"ws://{host}:{number}", asyncio.get_running_loop(), stop))
            there.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    there.wait()
    url, loop, stop = ready[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
