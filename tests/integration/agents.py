"""A real agent on loopback, with a display, a window manager and a desktop user of its own.

The agent runs in a mount namespace where /etc/passwd and /etc/group know the user `user`; the host's are
not touched. Its identity files are under a temporary root, and so the host's clock, name and random
numbers are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from oriel.model import wire

ROOT = Path(__file__).resolve().parents[2]
UID = 47_110  # of the agent's `user` on this host: nobody else's
NO_DISPLAY = ":990017"  # nobody has it: an agent without a screen must not find another test's
PROGRAMS = ("Xvfb", "openbox", "xterm")


def need_programs(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.fail(f"the agent's tests need {', '.join(missing)}: run ./test, which installs them")


@dataclass
class Screen:
    """An Xvfb with a number of its own, and the programs started on it."""

    number: int
    server: subprocess.Popen[bytes]
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f":{self.number}"

    def run(self, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        program = subprocess.Popen(
            argv, env={**os.environ, "DISPLAY": self.name, **env},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.programs.append(program)
        return program

    def manage(self) -> None:
        """Openbox. Returns once it manages windows: what is to be mapped while it starts, it loses."""
        with tempfile.TemporaryDirectory(prefix="oriel-openbox-") as directory:
            fifo = Path(directory) / "managing"
            os.mkfifo(fifo)
            reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            try:
                self.run("openbox", "--sm-disable", "--startup", f"sh -c 'echo > {fifo}'")
                assert select.select([reading], [], [], 60)[0], "openbox does not manage the screen"
            finally:
                os.close(reading)

    def stop(self) -> None:
        for program in reversed(self.programs):
            end(program)
        end(self.server)


def end(program: subprocess.Popen[bytes]) -> None:
    """TERM to the program's session group, KILL if that does not help."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
    try:
        program.wait(5)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def start_screen(size: str = "1920x1080", number: int | None = None) -> Screen:
    """Returns once the server takes connections. `number` to have the same one again."""
    need_programs(*PROGRAMS)
    reading, writing = os.pipe()
    which = [f":{number}"] if number is not None else []
    server = subprocess.Popen(
        ["Xvfb", *which, "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-nolisten", "tcp"],
        pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.readline().strip()
    assert said, "Xvfb did not start"
    return Screen(int(said), server)


@dataclass
class Guest:
    """A running agent and how to ask it."""

    port: int
    home: Path
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=wire.MAX_LINE)

    def call(self, verb: str, *, patience_s: float = 30, **args: Any) -> dict[str, Any]:
        """The result of a plain verb; `patience_s` is ours, not an argument of the verb."""
        return asyncio.run(wire.call(self.connect, verb, args, deadline_s=patience_s))

    async def stream(self, verb: str, **args: Any) -> wire.Stream:
        return await wire.open_stream(self.connect, verb, args)

    def exec(self, *argv: str, stdin: bytes = b"", **args: Any) -> Outcome:
        """Run to the end with all its input at once."""
        return asyncio.run(self._exec(list(argv), stdin, args))

    async def _exec(self, argv: list[str], stdin: bytes, args: dict[str, Any]) -> Outcome:
        stream = await self.stream("exec", argv=argv, **args)
        try:
            if stdin:
                await wire.write_frame(stream.writer, 0, stdin)
            if "tty" not in args:
                await wire.write_frame(stream.writer, 0, b"")
            return await read_outcome(stream)
        finally:
            await wire.close(stream.writer)

    def errors(self) -> str:
        return self.log.read_text()


def copy(guest: Guest, parts: Mapping[str, bytes]) -> None:
    """Put these formats on the clipboard."""

    async def scenario() -> None:
        sizes = {name: len(data) for name, data in parts.items()}
        stream = await guest.stream("clipboard_write", parts=sizes)
        stream.writer.write(b"".join(parts.values()))
        wire.result_of("clipboard_write", await wire.read_line(stream.reader))
        await wire.close(stream.writer)

    asyncio.run(scenario())


def paste(guest: Guest, *formats: str) -> tuple[dict[str, bytes], list[str]]:
    """What is on the clipboard, and which formats are too large."""

    async def scenario() -> tuple[dict[str, bytes], list[str]]:
        given = {"formats": list(formats)} if formats else {}
        stream = await guest.stream("clipboard_read", **given)
        parts = {name: await stream.reader.readexactly(size) for name, size in stream.result["parts"]}
        await wire.close(stream.writer)
        return parts, stream.result["too_large"]

    return asyncio.run(scenario())


@dataclass
class Outcome:
    """What came back from `exec`; `exit` is the last frame's content."""

    pid: int
    stdout: bytes = b""
    stderr: bytes = b""
    exit: dict[str, Any] = field(default_factory=dict)
    channels: list[int] = field(default_factory=list)


async def read_outcome(stream: wire.Stream) -> Outcome:
    """All frames to the end of the connection."""
    outcome = Outcome(stream.result["pid"])
    while frame := await wire.read_frame(stream.reader):
        channel, payload = frame
        outcome.channels.append(channel)
        if channel == 1:
            outcome.stdout += payload
        elif channel == 2:
            outcome.stderr += payload
        elif channel == 3:
            outcome.exit = json.loads(payload)
    return outcome


@contextlib.contextmanager
def running_agent(
    *, display: str = NO_DISPLAY, options: tuple[str, ...] = (), python: str = ""
) -> Iterator[Guest]:
    """An agent that has printed its port. Fails afterwards if it logged an internal error."""
    directory = Path(tempfile.mkdtemp(prefix="oriel-agent-"))
    directory.chmod(0o755)
    home, root = directory / "home", directory / "root"
    for path, owner in ((home, UID), (root / "etc", 0)):
        path.mkdir(parents=True)
        os.chown(path, owner, owner)
    (root / "etc/environment").write_text('LANG=C.UTF-8\nMARK="from the file"\n')
    (directory / "passwd").write_text(
        Path("/etc/passwd").read_text() + f"user:x:{UID}:{UID}::{home}:/bin/bash\n"
    )
    (directory / "group").write_text(Path("/etc/group").read_text() + f"user:x:{UID}:\n")
    mounts = "".join(f"mount --bind {directory}/{name} /etc/{name} && " for name in ("passwd", "group"))
    argv = [
        python or sys.executable, "-m", "agent", "--address", "127.0.0.1", "--port", "0",
        "--allow", "127.0.0.1", "--display", display, "--root", str(root),
        *(options if "--announce" in options else ("--announce", "none", *options)),
    ]  # fmt: skip
    log = directory / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "sh", *argv],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/guest:{ROOT}/src"},
            stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said, f"the agent did not start:\n{log.read_text()}"
        guest = Guest(int(said), home, root, process, log)
        yield guest
        assert "internal error" not in guest.errors(), guest.errors()
    finally:
        process.stdout.close()
        end(process)
        shutil.rmtree(directory)


def make_listener(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Any:
    """A server on a free port of loopback; use it with `async with await make_listener(…)`."""
    return asyncio.start_server(answer, "127.0.0.1", 0)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
