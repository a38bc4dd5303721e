"""Windows, paint, readiness, pixels and size, with a real agent on a real X server."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oriel.model import wire
from oriel.model.errors import InvalidError, UnavailableError
from tests.integration.agents import Guest, Screen, need_programs, running_agent, start_screen

PROMPT = "PS1='user@desktop:~$ ' exec sh -i"


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = start_screen()
    made.manage()
    yield made
    made.stop()


@pytest.fixture
def guest(screen: Screen) -> Iterator[Guest]:
    with running_agent(display=screen.name) as made:
        yield made


def terminal(screen: Screen, script: str = PROMPT, *options: str) -> None:
    screen.run("xterm", *options, "-e", "sh", "-c", script)


def screenshot(guest: Guest) -> tuple[int, int, bytes]:
    async def scenario() -> tuple[int, int, bytes]:
        stream = await guest.stream("screenshot")
        shape = stream.result
        assert shape["format"] == "BGRX"
        assert shape["stride"] == shape["width"] * 4
        pixels = await stream.reader.readexactly(shape["stride"] * shape["height"])
        assert await stream.reader.read() == b""
        await wire.close(stream.writer)
        return shape["width"], shape["height"], pixels

    return asyncio.run(scenario())


def test_a_terminal_is_ready_once_its_prompt_is_on_the_screen(screen: Screen, guest: Guest) -> None:
    terminal(screen, PROMPT, "-T", "CLI Terminal", "-geometry", "100x30+50+60")
    answer = guest.call("wait_ready", kinds=["terminal"], deadline_s=20)
    (window,) = (item for item in answer["windows"] if item["kind"] == "terminal")
    assert window["mapped"]
    assert window["painted"]
    assert window["class"] == "XTerm"
    assert window["title"] == "CLI Terminal"
    assert window["width"] > 600
    assert 50 <= window["x"] <= 60
    assert guest.call("windows")["windows"] == answer["windows"]


def test_an_empty_terminal_is_mapped_and_not_painted(screen: Screen, guest: Guest) -> None:
    """The wait ends by an event the moment text appears: here, when a file does."""
    flag = guest.home / "flag"
    terminal(screen, f"while [ ! -e {shlex.quote(str(flag))} ]; do sleep 0.05; done; {PROMPT}")
    with pytest.raises(UnavailableError, match="the terminal's window is not painted yet"):
        guest.call("wait_ready", kinds=["terminal"], deadline_s=2)
    (window,) = guest.call("windows")["windows"]
    assert (window["kind"], window["mapped"], window["painted"]) == ("terminal", True, False)

    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(guest.call("wait_ready", kinds=["terminal"], deadline_s=20))
    )
    waiting.start()
    flag.touch()
    waiting.join(20)
    assert answers[0]["windows"][0]["painted"]


def test_what_is_missing_is_said(screen: Screen, guest: Guest) -> None:
    terminal(screen)
    guest.call("wait_ready", kinds=["terminal"], deadline_s=20)
    with pytest.raises(UnavailableError, match="there is no browser window"):
        guest.call("wait_ready", kinds=["terminal", "browser"], deadline_s=2)


def test_a_covered_terminal_is_not_on_the_screen(screen: Screen, guest: Guest) -> None:
    terminal(screen, PROMPT, "-geometry", "60x10+0+0")
    guest.call("wait_ready", kinds=["terminal"], deadline_s=20)
    terminal(screen, PROMPT, "-geometry", "140x50+0+0", "-T", "above")
    deadline = time.monotonic() + 20
    while True:
        windows = {item["title"]: item for item in guest.call("windows")["windows"]}
        if windows.get("above", {}).get("painted"):
            break
        assert time.monotonic() < deadline, windows
    (lower,) = (item for title, item in windows.items() if title != "above")
    assert (lower["mapped"], lower["painted"]) == (True, False)


@pytest.mark.parametrize("page", ["about:blank", "data:text/html,<h1>Hello</h1><p>words and more words</p>"])
def test_a_browser_is_ready_once_tool_bar_and_page_are_painted(
    screen: Screen, guest: Guest, page: str
) -> None:
    need_programs("chromium")
    profile = guest.home / "profile"
    screen.run(
        "chromium", "--no-sandbox", "--no-first-run", "--disable-gpu", f"--user-data-dir={profile}",
        "--window-size=900,700", "--window-position=0,0", page, HOME=str(guest.root),
    )  # fmt: skip
    answer = guest.call("wait_ready", kinds=["browser"], deadline_s=60, patience_s=70)
    (window,) = (item for item in answer["windows"] if item["kind"] == "browser")
    width, _, pixels = screenshot(guest)
    band = [
        pixels[(row * width + window["x"]) * 4 : (row * width + window["x"] + window["width"]) * 4]
        for row in range(window["y"], window["y"] + 90)
    ]
    colours = {row[i : i + 4] for row in band for i in range(0, len(row), 4)}
    assert len(colours) > 30  # letters and icons, smoothed


def test_waiting_begins_before_there_is_a_display(tmp_path: Path) -> None:
    """As in the first second of a boot; then the server dies and comes again, and the agent follows."""
    # A number that was used and freed would soon be another server's: they take the lowest free one.
    number = 1000 + os.getpid() % 10_000
    with running_agent(display=f":{number}") as guest:
        with pytest.raises(UnavailableError, match=f"display :{number} is not there"):
            guest.call("windows")
        with pytest.raises(UnavailableError, match="the display is not up"):
            guest.call("wait_ready", kinds=["terminal"], deadline_s=0.3)
        answers: list[dict[str, object]] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                guest.call("wait_ready", kinds=["terminal"], deadline_s=150, patience_s=160)
            )
        )
        waiting.start()
        # The first server dies under the wait, before any window: the wait goes on with the second.
        for keep in (False, True):
            screen = start_screen(number=number)
            try:
                screen.manage()
                if keep:
                    terminal(screen)
                    waiting.join(150)
            finally:
                screen.stop()
        assert answers
        assert answers[0]["windows"]


def test_the_screen_is_resized_and_stays_so_for_a_display_that_comes_again() -> None:
    screen = start_screen("1920x1080")
    try:
        with running_agent(display=screen.name) as guest:
            answer = personalise(guest, 1280, 720)
            assert answer["screen"] == "set"
            assert screenshot(guest)[:2] == (1280, 720)
            assert personalise(guest, 1024, 768)["screen"] == "set"
            assert screenshot(guest)[:2] == (1024, 768)
            assert personalise(guest, 1920, 1080)["screen"] == "set"
            assert screenshot(guest)[:2] == (1920, 1080)
            with pytest.raises(InvalidError, match="at most 1920x1080"):
                personalise(guest, 3840, 2160)
            assert personalise(guest, 1366, 768)["screen"] == "set"
            number = screen.number
            screen.stop()
            assert personalise(guest, 800, 600)["screen"] == "later"
            screen = start_screen("1920x1080", number)
            wait_for_size(guest, (800, 600))
    finally:
        screen.stop()


def wait_for_size(guest: Guest, wanted: tuple[int, int]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            size = screenshot(guest)[:2]
        except UnavailableError:
            size = (0, 0)
        if size == wanted:
            return
        assert time.monotonic() < deadline, size


def personalise(guest: Guest, width: int, height: int) -> dict[str, object]:
    return guest.call(
        "personalise", session_id="s-1", hostname="desk", machine_id="a" * 32, time_ns=time.time_ns(),
        entropy="A" * 86 + "==", screen={"width": width, "height": height},
    )  # fmt: skip


def test_a_display_that_hangs_holds_up_nothing_else(screen: Screen, guest: Guest) -> None:
    guest.call("cursor")
    os.kill(screen.server.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            stuck = pool.submit(guest.call, "windows", patience_s=3)
            assert guest.exec("echo", "alive").stdout == b"alive\n"
            assert guest.call("hello", patience_s=2)["version"]
            assert isinstance(stuck.exception(), UnavailableError)
    finally:
        os.kill(screen.server.pid, signal.SIGCONT)
    assert "x" in guest.call("cursor")


def test_a_screenshot_shows_what_is_on_the_screen(screen: Screen, guest: Guest) -> None:
    screen.run("xterm", "-bg", "#12ab34", "-fg", "#12ab34", "-cr", "#12ab34", "-geometry", "40x10+100+100")
    deadline = time.monotonic() + 20
    wanted = bytes((0x34, 0xAB, 0x12))  # BGR
    while True:
        windows = guest.call("windows")["windows"]
        width, _, pixels = screenshot(guest)
        if windows:
            at = ((windows[0]["y"] + 20) * width + windows[0]["x"] + 20) * 4
            if pixels[at : at + 3] == wanted:
                return
        assert time.monotonic() < deadline


def test_a_caller_that_stops_waiting_leaves_nothing(screen: Screen, guest: Guest) -> None:
    async def leave() -> None:
        _, writer = await guest.connect()
        await wire.write_line(
            writer, {"verb": "wait_ready", "args": {"kinds": ["browser"], "deadline_s": 3000}}
        )
        writer.transport.abort()

    for _ in range(20):
        asyncio.run(leave())
    assert guest.call("windows")["windows"] == []
