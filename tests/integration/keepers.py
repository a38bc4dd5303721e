"""A keeper of a test's own, in a home of its own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.host import slots
from oriel.host.accounts import oriel_account
from oriel.host.layout import DesktopPaths, Home
from oriel.host.process import ProcessId, tail, wait_gone
from oriel.keeper.journal import read_events
from oriel.model import wire
from oriel.model.events import Event
from oriel.model.spec import DesktopSpec, Runtime
from oriel.network.link import remove_link
from tests.inventory import Inventory

ROOT = Path(__file__).resolve().parents[2]
FAKE_KEEPER = ("-m", "tests.integration.fakes.keeper")


def new_spec(behaviour: str = "well", **changes: Any) -> DesktopSpec:
    desktop_id = "d-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    values: dict[str, Any] = {
        "id": desktop_id, "name": "one", "session_id": "s-1", "runtime": Runtime.CONTAINER,
        "image": f"{behaviour}@000000000000",
    }  # fmt: skip
    return DesktopSpec(**(values | changes))


async def start_ready(argv: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start one of our programs (argv without the interpreter); returns once it says that it answers."""
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *argv, "--ready-fd", str(writing)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writing], cwd=ROOT,
            start_new_session=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/src"},
        )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = await asyncio.to_thread(pipe.readline)
    if not said or not json.loads(said)["ok"]:
        process.wait(20)
        raise AssertionError(said or tail(log))
    return process


@dataclass
class Keeper:
    """One keeper process and what a test asks of it."""

    home: Home
    spec: DesktopSpec
    command: Sequence[str] = FAKE_KEEPER
    process: subprocess.Popen[bytes] | None = None

    @property
    def paths(self) -> DesktopPaths:
        return self.home.desktop(self.spec.id)

    async def launch(self) -> None:
        self.process = await start_ready(
            [*self.command, "--home", self.home.root, "--images", self.home.images, self.spec.id],
            self.paths.keeper_log,
        )

    async def ask(self, verb: str, wait_s: float = 60, **args: Any) -> dict[str, Any]:
        return await wire.call(wire.unix(self.paths.keeper_socket), verb, args, deadline_s=wait_s)

    async def stream(self, verb: str, **args: Any) -> wire.Stream:
        return await wire.open_stream(wire.unix(self.paths.keeper_socket), verb, args)

    def events(self) -> list[Event]:
        return list(read_events(self.paths.journal))

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events()]

    async def until_event(self, kind: str, after: int = 0, deadline_s: float = 5) -> Event:
        """The first event of that kind after `after`, from the live stream."""
        stream = await self.stream("events", after=after)
        try:
            async with asyncio.timeout(deadline_s):
                while (line := await wire.read_line(stream.reader)) is not None:
                    if line["kind"] == kind:
                        return Event.from_json(line)
        finally:
            await wire.close(stream.writer)
        raise AssertionError(f"no {kind} in {self.kinds()}")

    async def gone(self) -> int:
        """The keeper's exit code, once it has ended."""
        assert self.process is not None
        identity = ProcessId.of(self.process.pid)
        if identity is not None:
            async with asyncio.timeout(10):
                await wait_gone(identity)
        return self.process.wait()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def kept(home: Home, spec: DesktopSpec, command: Sequence[str] = FAKE_KEEPER) -> AsyncIterator[Keeper]:
    """A running keeper; afterwards the desktop is deleted and nothing of it may be left on the host."""
    keeper = Keeper(home, spec, command)
    keeper.paths.root.mkdir(parents=True, mode=0o750)
    os.chown(keeper.paths.root, 0, oriel_account().gid)
    keeper.paths.spec.write_text(json.dumps(spec.to_json()))
    try:
        await keeper.launch()
        yield keeper
    finally:
        assert keeper.process is not None
        if keeper.process.poll() is None and "desktop.gone" not in keeper.kinds():
            await keeper.ask("delete")
        await keeper.gone()
        print(tail(keeper.paths.keeper_log, 20000))
        left = Inventory.take().of(spec.id)
        await remove_link(spec.id)
        slots.release(home.root, spec.id)
        shutil.rmtree(keeper.paths.root)
        assert not left, left
