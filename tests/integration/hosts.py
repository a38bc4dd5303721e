"""A hostd of a test's own, in a home of its own, and what a test asks of it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from oriel.host.layout import Home
from oriel.host.process import ProcessId, tail, wait_gone
from oriel.model import wire
from oriel.model.spec import DesktopSpec
from tests.integration.keepers import Keeper, start_ready
from tests.inventory import Inventory

FAKE_HOSTD = ("-m", "tests.integration.fakes.hostd")
KEEPING_HOSTD = ("-m", "tests.integration.fakes.keeping_hostd")


@dataclass
class Host:
    """One hostd process and the desktops a test made through it."""

    home: Home
    command: Sequence[str] = FAKE_HOSTD
    process: subprocess.Popen[bytes] | None = None
    made: list[str] = field(default_factory=list)

    async def launch(self) -> None:
        argv = [*self.command, "--home", self.home.root, "--images", self.home.images]
        self.process = await start_ready(argv, self.home.root / "hostd.out")

    async def ask(self, verb: str, wait_s: float = 60, **args: Any) -> dict[str, Any]:
        return await wire.call(wire.unix(self.home.hostd_socket), verb, args, deadline_s=wait_s)

    async def stream(self, verb: str, **args: Any) -> wire.Stream:
        return await wire.open_stream(wire.unix(self.home.hostd_socket), verb, args)

    async def create(self, spec: DesktopSpec, **more: Any) -> Keeper:
        """`origin={desktop, snapshot}`: what a fork begins as."""
        self.home.image(spec.image).mkdir(parents=True, exist_ok=True)
        self.made.append(spec.id)
        assert await self.ask("create", spec=spec.to_json(), **more) == {"id": spec.id}
        return Keeper(self.home, spec)

    async def terminate(self) -> int:
        """SIGTERM, as `oriel serve` does; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def hosted(home: Home, command: Sequence[str] = FAKE_HOSTD) -> AsyncIterator[Host]:
    """A running hostd; afterwards its desktops are removed and nothing of them may be left."""
    home.root.mkdir(parents=True, exist_ok=True)
    host = Host(home, command)
    try:
        await host.launch()
        yield host
    finally:
        assert host.process is not None
        if host.process.poll() is not None:
            await host.launch()
        for desktop in (await host.ask("list"))["desktops"]:
            await host.ask("remove", id=desktop["id"])
        assert await host.terminate() == 0
        print(tail(home.root / "hostd.out", 20000))
        left = [line for desktop_id in host.made for line in Inventory.take().of(desktop_id)]
        shutil.rmtree(home.root)
        assert not left, left


async def until_gone(pid: int, wait_s: float = 10) -> None:
    """Until that process has ended."""
    process = ProcessId.of(pid)
    if process is not None:
        async with asyncio.timeout(wait_s):
            await wait_gone(process)
