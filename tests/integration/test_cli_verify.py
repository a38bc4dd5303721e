"""The checks by eye and by hand, against a real screen: Xvfb, x11vnc, openbox, xterm, the guest's agent.

No controller and no machine between: what is tested is that each check sees what is there, and fails when
it is not. The whole of `oriel verify` on real desktops is in test_real_desktop.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from oriel.client.values import Channel, CommandResult
from oriel.client.verify.endurance import no_disconnects, stays_alive
from oriel.client.verify.hands import browser_navigates, terminal_typing
from oriel.client.verify.inspection import Check, Inspection, Vitals
from oriel.client.verify.sight import browser_visible, terminal_visible, vnc_connects
from oriel.client.viewer import open_viewer
from oriel.model import wire
from oriel.model.errors import UnavailableError
from tests.integration.agents import Guest, Screen, end, need_programs, running_agent, start_screen


class Line:
    """A TCP connection with the manners of the SDK's WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, message: bytes | str) -> None:
        assert isinstance(message, bytes)
        try:
            self.writer.write(message)
            await self.writer.drain()
        except ConnectionError as error:
            raise UnavailableError("the connection broke") from error

    async def receive(self) -> bytes | str | None:
        try:
            return await self.reader.read(1 << 16) or None
        except ConnectionError as error:
            raise UnavailableError("the connection broke") from error

    async def aclose(self) -> None:
        await wire.close(self.writer)


class Running:
    """The agent's exec with the manners of the SDK's command."""

    def __init__(self, stream: wire.Stream) -> None:
        self.stream = stream
        self.exit_code: int | None = None

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *_: object) -> None:
        await wire.close(self.stream.writer)

    async def close_input(self) -> None:
        await wire.write_frame(self.stream.writer, Channel.STDIN, b"")

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        while frame := await wire.read_frame(self.stream.reader):
            if frame[0] == Channel.EXIT:
                return
            yield frame


@dataclass
class Local:
    """As much of a desktop's handle as the checks use, on this host's screen."""

    guest: Guest
    vnc_port: int
    state: str = "running"
    boot: str = "boot-1"
    restarts: int = 0

    @property
    def info(self) -> Any:
        return self

    error = ""

    async def refresh(self) -> Local:
        return self

    async def ticket(self) -> Any:
        return type("Ticket", (), {"ticket": ""})

    async def vnc(self, *, ticket: str) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.vnc_port))

    async def windows(self) -> list[dict[str, Any]]:
        return list((await wire.call(self.guest.connect, "windows"))["windows"])

    async def units(self) -> dict[str, Any]:
        return {"boot_id": self.boot, "units": [{"name": "x11vnc", "restarts": self.restarts, "pid": 7}]}

    async def command(self, argv: list[str], *, timeout_s: float) -> Running:
        return Running(await self.guest.stream("exec", argv=argv, timeout_s=timeout_s))

    async def exec(self, argv: list[str], *, timeout_s: float) -> CommandResult:
        outcome = await self.guest._exec(argv, b"", {"timeout_s": timeout_s})
        return CommandResult(outcome.exit["exit_code"], outcome.stdout.decode(), outcome.stderr.decode(), 0)


@pytest.fixture
def screen() -> Iterator[Screen]:
    need_programs("x11vnc")
    made = start_screen("1280x720")
    made.manage()
    yield made
    made.stop()


@pytest.fixture
def desktop(screen: Screen) -> Iterator[Local]:
    with running_agent(display=screen.name) as guest:
        yield Local(guest, start_vnc(screen))


def start_vnc(screen: Screen) -> int:
    """x11vnc with the golden image's speed options; its port once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reading, writing = os.pipe()
    argv = [
        "x11vnc", "-display", screen.name, "-rfbport", str(port), "-localhost", "-no6", "-noipv6", "-nopw",
        "-forever", "-shared", "-repeat", "-noncache", "-xd_area", "0", "-wait", "5", "-defer", "5", "-nonap",
        "-nowait_bog", "-sb", "0", "-noxrecord", "-nodpms",
    ]  # fmt: skip
    program = subprocess.Popen(
        argv, stdout=writing, stderr=subprocess.DEVNULL, start_new_session=True, env=dict(os.environ)
    )
    os.close(writing)
    screen.programs.append(program)
    with os.fdopen(reading) as said:
        for line in said:  # it says PORT=… once it listens
            if line.startswith("PORT="):
                return int(line.removeprefix("PORT="))
    pytest.fail("x11vnc did not start")


@asynccontextmanager
async def inspecting(desktop: Local, *, soak_s: float = 0, see: bool = True) -> AsyncIterator[Inspection]:
    async with AsyncExitStack() as stack:
        inspection = Inspection(
            desktop=desktop,  # type: ignore[arg-type]
            url="", soak_s=soak_s, doing=lambda _: None, stack=stack,
        )  # fmt: skip
        if see:
            result = await inspection.judge("vnc_connects", vnc_connects)
            assert result.passed, result.detail
        inspection.vitals = await Vitals.of(desktop)  # type: ignore[arg-type]
        yield inspection


async def until_window(desktop: Local, kind: str) -> None:
    await wire.call(desktop.guest.connect, "wait_ready", {"kinds": [kind], "deadline_s": 30}, deadline_s=40)


def shell_in_terminal(screen: Screen, home: str) -> subprocess.Popen[bytes]:
    return screen.run(
        "xterm", "-geometry", "100x30", "-e", "bash", "--norc", HOME=home, PS1="user@desktop:~$ "
    )


def judge(desktop: Local, check: Check, **options: Any) -> Any:
    async def work() -> Any:
        async with inspecting(desktop, **options) as inspection:
            return await inspection.judge(check.__name__, check)

    return asyncio.run(work())


def test_a_terminal_with_its_prompt_is_seen_and_typed_into(screen: Screen, desktop: Local) -> None:
    shell_in_terminal(screen, str(desktop.guest.home))

    async def work() -> None:
        await until_window(desktop, "terminal")
        async with inspecting(desktop) as inspection:
            seen = await inspection.judge("terminal_visible", terminal_visible)
            assert seen.passed, seen.detail
            typed = await inspection.judge("terminal_typing", terminal_typing)
            assert typed.passed, typed.detail
            again = await inspection.judge("terminal_typing", terminal_typing)
            assert again.passed, again.detail

    asyncio.run(work())


def test_an_empty_screen_has_no_terminal_and_no_browser(desktop: Local) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            socket_ = await desktop.vnc(ticket="")
            viewer = await stack.enter_async_context(open_viewer(socket_))  # type: ignore[arg-type]
            await viewer.first_picture(deadline_s=10)
            inspection = Inspection(
                desktop=desktop,  # type: ignore[arg-type]
                url="", soak_s=0, doing=lambda _: None, stack=stack, viewer=viewer,
            )  # fmt: skip
            for check in (terminal_visible, terminal_typing, browser_visible, browser_navigates):
                result = await inspection.judge(check.__name__, check)
                assert not result.passed
                assert "no terminal window" in result.detail or "no browser window" in result.detail

    asyncio.run(work())


def test_a_blank_picture_is_no_first_picture_of_a_desktop(desktop: Local) -> None:
    result = judge(desktop, vnc_connects, see=False)
    assert not result.passed
    assert "one colour" in result.detail


def test_a_terminal_that_drew_nothing_is_not_visible(
    screen: Screen, desktop: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Mapped, with its cursor, but without a word: `cat` says nothing.
    screen.run("xterm", "-geometry", "100x30", "-e", "cat", HOME="/nonexistent")
    monkeypatch.setattr("oriel.client.verify.sight.PAINT_DEADLINE_S", 1)

    async def work() -> None:
        async with inspecting_when_mapped(desktop, "terminal") as inspection:
            result = await inspection.judge("terminal_visible", terminal_visible)
            assert not result.passed, result.detail

    asyncio.run(work())


@asynccontextmanager
async def inspecting_when_mapped(desktop: Local, kind: str) -> AsyncIterator[Inspection]:
    """Once a window of that kind is mapped and the picture is not blank, painted or not."""
    socket_ = await desktop.vnc(ticket="")
    async with open_viewer(socket_) as viewer, AsyncExitStack() as stack:  # type: ignore[arg-type]
        await viewer.first_picture(deadline_s=10)
        await viewer.until(
            lambda: len(viewer.picture().colours()) > 1, deadline_s=10, what="anything on the screen"
        )
        yield Inspection(
            desktop=desktop,  # type: ignore[arg-type]
            url="", soak_s=0, doing=lambda _: None, stack=stack, viewer=viewer,
        )  # fmt: skip


def test_a_terminal_that_runs_something_else_is_not_typed_into(
    screen: Screen, desktop: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "nothing that is typed here is a command: it is only shown"
    screen.run("xterm", "-geometry", "100x30", "-e", "sh", "-c", f"echo {words}; cat", HOME="/nonexistent")
    monkeypatch.setattr("oriel.client.verify.hands.TYPED_DEADLINE_S", 2)

    async def work() -> None:
        await until_window(desktop, "terminal")
        async with inspecting(desktop) as inspection:
            result = await inspection.judge("terminal_typing", terminal_typing)
            assert not result.passed
            assert "prompt" in result.detail

    asyncio.run(work())


def soak_with(desktop: Local, screen: Screen, harm: Callable[[Inspection], None]) -> tuple[Any, Any]:
    """Both checks over time, with something done to the desktop between."""

    async def work() -> tuple[Any, Any]:
        await until_window(desktop, "terminal")
        async with inspecting(desktop, soak_s=0.5) as inspection:
            harm(inspection)
            alive = await inspection.judge("stays_alive", stays_alive)
            return alive, await inspection.judge("no_disconnects", no_disconnects)

    return asyncio.run(work())


def test_a_quiet_while_passes_and_says_how_long_it_was(screen: Screen, desktop: Local) -> None:
    shell_in_terminal(screen, str(desktop.guest.home))
    alive, connected = soak_with(desktop, screen, lambda _: None)
    assert alive.passed, alive.detail
    assert connected.passed, connected.detail
    assert "looked for" in alive.detail


def test_a_dropped_viewer_is_told_by_one_check_and_not_by_the_other(screen: Screen, desktop: Local) -> None:
    shell_in_terminal(screen, str(desktop.guest.home))
    alive, connected = soak_with(desktop, screen, lambda _: end(screen.programs[1]))
    assert alive.passed, alive.detail
    assert not connected.passed
    assert "dropped" in connected.detail


@pytest.mark.parametrize("change", ["boot", "restarts", "terminal"])
def test_restarts_are_seen(screen: Screen, desktop: Local, change: str) -> None:
    terminal = shell_in_terminal(screen, str(desktop.guest.home))

    def harm(_: Inspection) -> None:
        if change == "boot":
            desktop.boot = "boot-2"
        elif change == "restarts":
            desktop.restarts = 1
        else:
            os.killpg(terminal.pid, signal.SIGKILL)
            terminal.wait()

    alive, connected = soak_with(desktop, screen, harm)
    assert alive.passed is (change != "boot")
    assert not connected.passed
    expected = {"boot": "booted again", "restarts": "x11vnc was restarted 1", "terminal": "terminal's window"}
    assert expected[change] in connected.detail


def test_a_desktop_that_stopped_is_not_alive(screen: Screen, desktop: Local) -> None:
    shell_in_terminal(screen, str(desktop.guest.home))

    def harm(_: Inspection) -> None:
        desktop.state = "failed"

    alive, _ = soak_with(desktop, screen, harm)
    assert not alive.passed
    assert "failed" in alive.detail


def test_a_viewer_that_hears_nothing_gives_up(desktop: Local) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        line = Line(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        async with open_viewer(line) as viewer:  # type: ignore[arg-type]
            with pytest.raises(UnavailableError, match=r"not drawn wholly within 0\.3 s"):
                await viewer.first_picture(deadline_s=0.3)
        server.close()

    asyncio.run(work())
