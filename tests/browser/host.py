"""The fake host in a thread with a loop of its own, so that a test that drives a browser can direct it.

The controller under test is the real one. `hold` stops a start at a step; `fail_with` makes one fail.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.model.errors import LaunchError
from tests.fakes.hostd import WORKING, FakeDesktop, FakeHost

__all__ = ["Host"]

CONSOLE = "[    0.000000] Linux version 6.12\n[    2.104411] systemd[1]: Reached target basic.target\n"


_LACKING = {"works": False, "isolation": "vm", "detail": "no KVM", "hint": "use a host with /dev/kvm"}
CONTAINERS = {**WORKING, "qemu": _LACKING, "firecracker": _LACKING}


class Host:
    """The public methods may be called from the test's own thread."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self._host = FakeHost(self.home)
        self._host.images[0] |= {"created_at": "2026-01-05T10:00:00.000Z", "size_bytes": 1_640_000_000}
        self._host.runtimes = dict(CONTAINERS)
        self._behaviour = self._host.behaviour
        self._behaviour.console = CONSOLE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake host")

    def start(self) -> None:
        self._thread.start()
        self.run(self._host.open())

    def stop(self) -> None:
        async def end() -> None:
            await self._host.__aexit__()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine in the host's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def machine(self, name: str) -> FakeDesktop:
        return self._host.named(name)

    def reset(self) -> None:
        """Do nothing out of the ordinary any more."""
        self.name_screens("desktop")
        self._behaviour.failing, self._behaviour.screens_closed = None, False
        self._host.runtimes = dict(CONTAINERS)
        for gate in self._behaviour.held.values():
            self._call(gate.set)
        self._behaviour.held.clear()

    def work(self, runtime: str) -> None:
        """This host has that runtime too."""
        self._host.runtimes[runtime] = WORKING[runtime]

    def name_screens(self, name: str) -> None:
        """What the VNC servers of desktops made from now on call themselves."""
        self._behaviour.screen_name = name

    def hold(self, step: str) -> Callable[[], None]:
        """Stop every start before `step` ends, until the returned function is called."""
        gate = self._behaviour.held[step] = asyncio.Event()

        def release() -> None:
            self._behaviour.held.pop(step, None)
            self._loop.call_soon_threadsafe(gate.set)

        return release

    def fail_with(self, step: str, message: str, hint: str) -> None:
        self._behaviour.failing = (step, LaunchError(message, hint=hint))

    def refuse_viewers(self, refused: bool) -> None:
        """From now on no screen answers, as when x11vnc is being restarted."""
        self._behaviour.screens_closed = refused

    def cut(self, name: str) -> None:
        """Break every viewer's connection to a desktop."""
        self._call(self.machine(name).screen.cut)

    def copy(self, name: str, text: str) -> None:
        """Something is copied inside a desktop: its screen's server tells of it, and its agent has it."""
        machine = self.machine(name)
        self._call(machine.agent.copy, text=text.encode())
        self._call(machine.screen.copy, text)

    def act(self, act: Callable[..., None], *arguments: object, **named: object) -> None:
        """Something of a desktop's, where it lives."""
        self._call(act, *arguments, **named)

    def kill_machine(self, name: str, message: str) -> None:
        self.run(self.machine(name).die(message))

    def _call(self, act: Callable[..., None], *arguments: object, **named: object) -> None:
        async def call() -> None:
            act(*arguments, **named)

        self.run(call())
