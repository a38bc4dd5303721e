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
from pathlib import Path
from typing import Any

from oriel.cli.serve import Serving, prepare_home
from oriel.host.layout import Home, default_home
from oriel.host.process import ProcessId, end, spawn, tail, wait_gone
from oriel.model import wire
from oriel.model.errors import HostError, LaunchError, OrielError, UnavailableError

__all__ = ["main"]

FIRST_DESKTOP = "first"
RUNTIMES = ("auto", "firecracker", "qemu", "container")
STOP_DEADLINE_S = 60


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
    def phase(self, name: str) -> Any:
        began = time.monotonic()
        yield
        now = time.monotonic()
        print(
            f"  {name:28} {now - began:6.1f} s   (at {now - self._began:.1f} s)", file=sys.stderr, flush=True
        )


async def stop(home: Home, *, desktops: bool) -> None:
    """Stop what serves `home`, in order; with `desktops` also every machine and keeper. Disks stay."""
    record = running(home)
    if desktops and record is None and any(home.desktops.glob("d-*")):
        # Keepers may have outlived their controller: hostd alone is enough to stop them.
        raise UnavailableError(
            "nothing serves this home, so its desktops cannot be asked to stop",
            hint="./run --detach first, then ./run --stop --all",
        )
    if record is None:
        print("not running", file=sys.stderr)
        return
    if desktops:
        await wire.call(wire.unix(home.hostd_socket), "retire", deadline_s=STOP_DEADLINE_S)
    identity = ProcessId(int(record["pid"]), int(record["started"]))
    await end(identity, deadline_s=STOP_DEADLINE_S)
    print(
        "stopped" + (", desktops too; their disks are kept" if desktops else "; desktops go on"),
        file=sys.stderr,
    )


async def up(options: argparse.Namespace, home: Home) -> None:
    """Everything up to the ready server and the first desktop; then wait with it, unless detached."""
    phases = Phases()
    serving = running(home)
    if serving is None:
        await prepare_home(home)
        with phases.phase("golden image"):
            await _ensure_image(home)
        with phases.phase("hostd and controller"):
            identity = await _start_serving(options, home)
    else:
        identity = ProcessId(int(serving["pid"]), int(serving["started"]))
        print(f"already serving this home (pid {identity.pid})", file=sys.stderr)
    controller = json.loads(home.controller_record.read_text())
    url, token = str(controller["url"]), home.admin_token.read_text().strip()
    with phases.phase("first desktop"):
        desktop = await _ensure_desktop(url, token, options.runtime)
    link = f"{url}/desktops/{desktop['name']}#token={token}"
    print(f"\nYour desktop: {link}\nAll desktops: {url}/#token={token}\n", file=sys.stderr, flush=True)
    if options.detach:
        result = {"url": url, "token": token, "runtime": desktop["runtime"], "isolation": desktop["isolation"],
                  "home": str(home.root), "pid": controller["pid"]}  # fmt: skip
        print(json.dumps(result), flush=True)
        return
    print(link, flush=True)
    if serving is None:
        await _stay(identity)


async def _ensure_image(home: Home) -> None:
    raise NotImplementedError


async def _start_serving(options: argparse.Namespace, home: Home) -> ProcessId:
    """Start `oriel serve` in a session of its own; its identity once it says that it is ready."""
    reader, writer = os.pipe()
    arguments = ["--home", str(home.root), "--ready-fd", str(writer)]
    for name in ("host", "port"):
        if (value := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(value)]
    home.serve_log.touch(mode=0o640)
    mark = home.serve_log.stat().st_size
    process = spawn(
        [sys.executable, "-m", "oriel.cli.main", "serve", *arguments], log=home.serve_log, pass_fds=[writer]
    )
    os.close(writer)
    loop = asyncio.get_running_loop()
    pipe = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(pipe), os.fdopen(reader, "rb")
    )
    said = await pipe.readline()
    transport.close()
    identity = ProcessId.of(process.pid)
    if not said or identity is None:
        process.wait()
        message = home.serve_log.read_bytes()[mark:].decode(errors="replace").strip()
        raise LaunchError(message or "oriel serve ended without a word", hint=f"its log: {home.serve_log}")
    return identity


async def _stay(identity: ProcessId) -> None:
    """In the foreground: until the server ends or Ctrl-C, which stops it; desktops go on."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, identity.signal, signal.SIGTERM)
    print("serving; Ctrl-C stops the controller, desktops go on", file=sys.stderr, flush=True)
    await wait_gone(identity)


async def _ensure_desktop(url: str, token: str, runtime: str | None) -> dict[str, Any]:
    raise NotImplementedError


def main() -> int:
    """Entry of `python -m oriel.cli.run`. Exit status 0 done, 1 failed, 2 wrong usage."""
    options = parser().parse_args()
    if options.all and not options.stop:
        parser().error("--all goes with --stop")
    home = Home((options.home or default_home()).resolve())
    try:
        if os.geteuid() != 0:
            raise HostError("./run needs root for machines and namespaces", hint="run it with sudo")
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
