"""What `./run` does once packages, environment and page stand: image, then serve, then a first desktop.

stdout carries only the result (a link, or with --detach one JSON line); progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from oriel.cli.serve import Serving, prepare_home
from oriel.client import AsyncOriel, DesktopInfo
from oriel.host.accounts import require_root
from oriel.host.layout import Home, default_home
from oriel.host.process import ProcessId, end, spawn, wait_gone
from oriel.host.records import read_json, read_process
from oriel.host.settings import load_settings
from oriel.image.build import Progress, build
from oriel.machine.driver import Probe
from oriel.machine.runtimes import automatic
from oriel.model import wire
from oriel.model.errors import LaunchError, OrielError
from oriel.model.events import Event
from oriel.model.spec import Isolation, Runtime

__all__ = ["main"]

FIRST_DESKTOP = "first"
RUNTIMES = ("auto", "firecracker", "qemu", "container")
STOP_DEADLINE_S = 60
DESKTOP_DEADLINE_S = 600  # a cold boot in full emulation on a busy host


def parser() -> argparse.ArgumentParser:
    """The options of ./run (CONTRACT)."""
    made = argparse.ArgumentParser(prog="./run", description="Set up what is missing and serve Oriel.")
    made.add_argument(
        "--home", type=Path, default=None, help="home directory (default $ORIEL_HOME, else /var/lib/oriel)"
    )
    made.add_argument("--host", default=None, help="address to listen on (default 127.0.0.1)")
    made.add_argument("--port", type=_port, default=None, help="port to listen on, 0 for any (default 8080)")
    made.add_argument("--runtime", choices=RUNTIMES, default=None, help="of the first desktop (default auto)")
    made.add_argument(
        "--detach", action="store_true", help="return once ready; the last line is one JSON object"
    )
    made.add_argument("--stop", action="store_true", help="stop the controller; desktops go on")
    made.add_argument("--no-desktop", action="store_true", help="do not make a first desktop")
    made.add_argument("--all", action="store_true", help="with --stop: the desktops too (their disks stay)")
    return made


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a whole number from 0 to 65535")
    return int(text)


class Phases:
    """Times each phase and tells the operator, relative to the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        now = time.monotonic()
        print(
            f"  {name:28} {now - began:6.1f} s   (at {now - self._began:.1f} s)", file=sys.stderr, flush=True
        )


async def stop(home: Home, *, desktops: bool) -> None:
    """Stop what serves `home`, in order; with `desktops` also every machine and keeper. Disks stay.

    Raises LaunchError naming the desktops that could not be stopped in order; all else is stopped.
    """
    serving = Serving.of(home)
    problems: list[str] = []
    if desktops and any(home.desktops.glob("d-*")):
        # Keepers outlive whatever serves them: without a hostd, one is started to end them.
        hostd = read_process(home.hostd_record)
        async with contextlib.nullcontext() if hostd and hostd.alive else _hostd(home):
            answer = await wire.call(wire.unix(home.hostd_socket), "retire", deadline_s=STOP_DEADLINE_S)
            problems = list(answer["problems"])
    identity = ProcessId.of(serving.pid) if serving else None
    if identity is not None:
        await end(identity, deadline_s=STOP_DEADLINE_S)
    if problems:
        raise LaunchError(
            "; ".join(problems), hint="the disks are kept; `oriel events` tells more once served"
        )
    if desktops:
        print("stopped, desktops too; disks are kept", file=sys.stderr)
    else:
        print("stopped; desktops go on" if serving else "not running", file=sys.stderr)


@contextlib.asynccontextmanager
async def _hostd(home: Home) -> AsyncIterator[None]:
    """A hostd of our own, while nothing else serves the home. Its own error if it cannot start."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "oriel.hostd", "--home", str(home.root), "--ready-fd", str(writer)]
    process = spawn(command, log=home.hostd_log, pass_fds=[writer])
    os.close(writer)
    # Ends with hostd's one line, or with the end of file when it died without a word.
    said = json.loads(await asyncio.to_thread(os.read, reader, 65536) or b"{}")
    os.close(reader)
    identity = ProcessId.of(process.pid)
    if not said.get("ok") or identity is None:
        process.wait()
        unsaid = LaunchError("hostd could not be started", hint=f"its log: {home.hostd_log}")
        raise OrielError.from_wire(said["error"]) if "error" in said else unsaid
    try:
        yield
    finally:
        await end(identity, deadline_s=STOP_DEADLINE_S)
        process.wait()


async def up(options: argparse.Namespace, home: Home) -> None:
    """Everything up to the ready server and the first desktop; then wait with it, unless detached."""
    phases = Phases()
    serving = Serving.of(home)
    if serving is None:
        await prepare_home(home)
        with phases.phase("golden image"):
            image = await _ensure_image(home)
            print(f"  golden image {image}", file=sys.stderr)
        with phases.phase("hostd and controller"):
            serving = await _start_serving(options, home)
        mine = True
    else:
        print(f"already serving this home (pid {serving.pid})", file=sys.stderr)
        mine = False
    async with AsyncOriel(home=home.root) as client:
        with phases.phase("first desktop"):
            desktop = None if options.no_desktop else await _ensure_desktop(client, options.runtime)
        result = await _result(client, home, desktop)
        await _tell_templates(client)
    _tell(result, desktop)
    if options.detach:
        print(json.dumps(result), flush=True)
    elif mine:
        await _stay(serving)


async def _tell_templates(client: AsyncOriel) -> None:
    """The controller makes them by itself while the host is calm: a boot each, that nobody waits for here."""
    working = {name for name, told in (await client.host())["runtimes"].items() if told["works"]}
    if working - {Runtime.CONTAINER} and not await client.templates.list():
        print("  templates for virtual machines are made in the background", file=sys.stderr, flush=True)


def _tell(result: Mapping[str, Any], desktop: DesktopInfo | None) -> None:
    """Links for people, on stderr. The token is in the fragment, which no browser sends or logs."""
    say = partial(print, file=sys.stderr, flush=True)
    say(f"\nAll desktops   {result['url']}/#token={result['token']}")
    if desktop is not None:
        say(f"Your desktop   {result['url']}/desktops/{desktop.name}#token={result['token']}\n")


async def _result(client: AsyncOriel, home: Home, desktop: DesktopInfo | None) -> dict[str, Any]:
    """The JSON object of `--detach` (CONTRACT). Without a desktop: what a new one would get."""
    if desktop is None:
        reports = (await client.host())["runtimes"]
        probes = {
            Runtime(name): Probe(**report | {"isolation": Isolation(report["isolation"])})
            for name, report in reports.items()
        }
        runtime: str = automatic(probes)
        isolation: str = probes[Runtime(runtime)].isolation
    else:
        runtime, isolation = desktop.runtime, desktop.isolation
    record = read_json(home.controller_record) or {}
    return {
        "url": client.access.url,
        "token": client.access.token.reveal(),
        "runtime": str(runtime),
        "isolation": str(isolation),
        "home": str(home.root),
        "pid": record.get("pid"),
    }


async def _ensure_image(home: Home) -> str:
    """The id of the current plan's golden image, built if it is not there."""

    def tell(step: Progress) -> None:
        print(f"  {step}", file=sys.stderr, flush=True)

    return (await build("default", home, tell)).id


async def _ensure_desktop(client: AsyncOriel, runtime: str | None) -> DesktopInfo:
    """The newest desktop; the first one is made here. One that is starting is waited for."""
    known = await client.desktops.list()
    desktop = known[0] if known else await client.desktops.create(FIRST_DESKTOP, runtime=runtime, wait=False)
    if desktop.info.state in ("creating", "starting"):

        def tell(event: Event) -> None:
            seconds = event.data.get("seconds")
            if event.kind.startswith("step.") and seconds is not None:
                print(f"    {event.kind[5:]:12} {seconds:6.2f} s", file=sys.stderr, flush=True)

        await desktop.wait_ready(deadline_s=DESKTOP_DEADLINE_S, on_event=tell)
    return desktop.info


async def _start_serving(options: argparse.Namespace, home: Home) -> Serving:
    """Start `oriel serve` in a session of its own; back once it says that it is ready."""
    reader, writer = os.pipe()
    arguments = ["--home", str(home.root), "--ready-fd", str(writer)]
    for name in ("host", "port"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(value)]
    home.serve_log.touch(mode=0o640)
    mark = home.serve_log.stat().st_size
    settings = {name: value for name, value in os.environ.items() if name.startswith("ORIEL_")}
    command = [sys.executable, "-m", "oriel.cli.main", "serve", *arguments]
    process = spawn(command, log=home.serve_log, pass_fds=[writer], env=settings)
    os.close(writer)
    # Ends with the ready line, or with the end of file when `serve` has failed.
    said = await asyncio.to_thread(os.read, reader, 4096)
    os.close(reader)
    serving = Serving.of(home)
    if not said or serving is None:
        process.wait()
        text = home.serve_log.read_bytes()[mark:].decode(errors="replace")
        raise _failure(text, home)
    return serving


def _failure(text: str, home: Home) -> OrielError:
    """What `oriel serve` said before it ended, as the error it was."""
    lines = [line for line in text.strip().splitlines() if line]
    hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), "")
    message = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    return LaunchError(
        message or text.strip() or "oriel serve ended without a word",
        hint=hint or f"its log: {home.serve_log}",
    )


async def _stay(serving: Serving) -> None:
    """In the foreground: until the server ends or Ctrl-C, which stops it; desktops go on."""
    identity = ProcessId.of(serving.pid)
    if identity is None:
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, identity.signal, signal.SIGTERM)
    print("serving; Ctrl-C stops the controller, desktops go on", file=sys.stderr, flush=True)
    await wait_gone(identity)


def main() -> int:
    """Entry of `python -m oriel.cli.run`. Exit status 0 done, 1 failed, 2 wrong usage."""
    options = parser().parse_args()
    if options.all and not options.stop:
        parser().error("--all goes with --stop")
    root = (options.home or default_home()).resolve()
    try:
        require_root("./run")
        settings = load_settings(Home(root).settings, {}, os.environ)
        home = Home(root, settings.images_directory)
        asyncio.run(stop(home, desktops=options.all) if options.stop else up(options, home))
    except KeyboardInterrupt:
        return 1
    except OrielError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
