"""A host without machines: hostd's and the keepers' sockets (docs/internals.md), wholly in the test's hands.

The controller under test is the real one. `Machine.screen` is what a viewer sees; `Host.hold` stops a
start at a step; `Host.fail_with` makes the next start fail. It runs in a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.errors import LaunchError, OrielError, StateError
from oriel.model.events import Event, utc_now
from oriel.model.spec import DesktopSpec
from oriel.model.state import State, check_transition
from tests.browser.painted_screen import PaintedScreen

__all__ = ["Host", "Machine"]

STEPS = ("link", "disk", "gateway", "machine", "agent", "identity", "windows")
IMAGE = {
    "id": "default@0123456789ab",
    "name": "default",
    "version": "0123456789ab",
    "created_at": "2026-01-05T10:00:00.000Z",
    "size_bytes": 1_640_000_000,
    "in_use_by": [],
    "default": True,
}


class Machine:
    """One fake keeper with its desktop."""

    def __init__(self, host: Host, spec: DesktopSpec) -> None:
        self.host, self.spec = host, spec
        self.state = State.CREATING
        self.error: dict[str, Any] | None = None
        self.timings: dict[str, float] = {}
        self.events: list[Event] = []
        self.news = asyncio.Condition()
        self.screen = PaintedScreen(spec.screen.width, spec.screen.height, name=host.server_name)
        self.server: asyncio.Server | None = None
        self.gone = False

    async def open(self) -> None:
        paths = self.host.home.desktop(self.spec.id)
        paths.root.mkdir(parents=True)
        paths.spec.write_text(json.dumps(self.spec.to_json()))
        self.server = await self.host.listen(paths.keeper_socket, self.handlers())
        await self.record("state.creating")

    async def close(self) -> None:
        self.gone = True
        async with self.news:
            self.news.notify_all()
        self.screen.cut()
        if self.server is not None:
            self.server.close()
        shutil.rmtree(self.host.home.desktop(self.spec.id).root, ignore_errors=True)

    async def record(self, kind: str, message: str = "", **data: Any) -> None:
        event = Event(
            seq=len(self.events) + 1,
            at=utc_now(),
            desktop=self.spec.id,
            kind=kind,
            message=message,
            data=data,
        )
        async with self.news:
            self.events.append(event)
            self.news.notify_all()

    async def become(self, state: State, **data: Any) -> None:
        check_transition(self.state, state)
        self.state = state
        await self.record(f"state.{state}", **data)

    def handlers(self) -> dict[str, wire.Handler]:
        names = ("hello", "inspect", "configure_egress", "start", "stop", "delete", "console", "agent", "vnc")
        return {name: getattr(self, f"_{name}") for name in names} | {"events": self._events}

    async def _hello(self, _call: wire.Call) -> dict[str, Any]:
        return {
            "id": self.spec.id,
            "pid": os.getpid(),
            "version": "0",
            "state": str(self.state),
            "seq": len(self.events),
        }

    async def _inspect(self, _call: wire.Call) -> dict[str, Any]:
        about: dict[str, Any] = {
            "id": self.spec.id,
            "spec": self.spec.to_json(),
            "state": str(self.state),
            "seq": len(self.events),
            "timings": self.timings,
            "egress": {"mode": "none", "proxy": ""},
        }
        if self.error:
            about["error"] = self.error
        if self.state is State.RUNNING:
            about["machine"] = {"pid": os.getpid(), "runtime": "container", "isolation": "container"}
        return about

    async def _configure_egress(self, _call: wire.Call) -> dict[str, Any]:
        return {}

    async def _start(self, _call: wire.Call) -> dict[str, Any]:
        self.error, self.timings = None, {}
        await self.become(State.STARTING)
        began = time.monotonic()
        for name in STEPS:
            await self.record(f"begin.{name}")
            step_began = time.monotonic()
            await self.host.pass_step(name)
            if self.host.failure and self.host.failure[0] == name:
                await self._fail(self.host.failure[1])
            self.timings[name] = round(time.monotonic() - step_began, 4)
            await self.record(f"step.{name}", seconds=self.timings[name])
        self.timings["total"] = round(time.monotonic() - began, 4)
        await self.become(State.RUNNING, total=self.timings["total"])
        return {"timings": self.timings}

    async def _fail(self, error: OrielError) -> None:
        self.host.failure = None
        self.error = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "console": self.host.console,
        }
        await self.become(State.FAILED, error=self.error, problems=[])
        raise error

    async def die(self, message: str) -> None:
        """The machine ends by itself."""
        self.screen.cut()
        try:
            await self._fail(LaunchError(message, hint="start it again", code="machine_exited"))
        except LaunchError:
            return

    async def _stop(self, _call: wire.Call) -> dict[str, Any]:
        await self.become(State.STOPPING)
        self.screen.cut()
        await self.become(State.STOPPED)
        return {}

    async def _delete(self, call: wire.Call) -> None:
        await self.become(State.DELETING)
        await self.record("desktop.gone")
        await call.answer({})
        await self.host.forget(self.spec.id)

    async def _console(self, _call: wire.Call) -> dict[str, Any]:
        return {"text": self.host.console}

    async def _events(self, call: wire.Call) -> None:
        seen = int(call.args.get("after", 0))
        await call.answer({})
        while not self.gone:
            for event in self.events[seen:]:
                await wire.write_line(call.writer, event.to_json())
            seen = len(self.events)
            async with self.news:
                await self.news.wait_for(lambda: self.gone or len(self.events) > seen)  # noqa: B023

    async def _agent(self, call: wire.Call) -> None:
        self._must_run()
        await call.answer({})
        await wire.handle_connection(
            call.reader, call.writer, {"screenshot": self._screenshot}, on_unknown_error=unknown
        )

    async def _screenshot(self, call: wire.Call) -> None:
        screen = self.screen
        about = {"width": screen.width, "height": screen.height, "stride": screen.stride, "format": "BGRX"}
        await call.answer(about)
        call.writer.write(bytes(screen.pixels))
        await call.writer.drain()

    async def _vnc(self, call: wire.Call) -> None:
        self._must_run()
        if self.host.vnc_closed:
            raise StateError("the screen does not answer", hint="")
        await call.answer({})
        await self.screen.serve(call.reader, call.writer)

    def _must_run(self) -> None:
        if self.state is not State.RUNNING:
            raise StateError(f"the desktop is {self.state}", hint="start it first")


class Host:
    """hostd, in a thread. The public methods may be called from the test's own thread."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self.machines: dict[str, Machine] = {}
        self.server_name = "desktop"
        self.console = (
            "[    0.000000] Linux version 6.12\n[    2.104411] systemd[1]: Reached target basic.target\n"
        )
        self.failure: tuple[str, OrielError] | None = None
        self.vnc_closed = False
        self._held: dict[str, asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake host")

    def start(self) -> None:
        self.home.hostd.mkdir(parents=True)
        self.home.desktops.mkdir()
        self._thread.start()
        self.run(self.listen(self.home.hostd_socket, self._handlers()))

    def stop(self) -> None:
        async def end() -> None:
            for machine in list(self.machines.values()):
                await machine.close()
            for server in self._servers:
                server.close()
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
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines.values() if machine.spec.name == name)

    def reset(self) -> None:
        """Do nothing out of the ordinary any more."""
        self.server_name, self.failure, self.vnc_closed = "desktop", None, False
        for gate in self._held.values():
            self._call(gate.set)
        self._held.clear()

    def hold(self, step: str) -> Callable[[], None]:
        """Stop every start before `step` ends, until the returned function is called."""
        gate = self._held[step] = asyncio.Event()

        def release() -> None:
            self._held.pop(step, None)
            self._loop.call_soon_threadsafe(gate.set)

        return release

    def fail_with(self, step: str, message: str, hint: str) -> None:
        self.failure = (step, LaunchError(message, hint=hint))

    def refuse_viewers(self, refused: bool) -> None:
        """From now on no screen answers, as when x11vnc is being restarted."""
        self.vnc_closed = refused

    def cut(self, name: str) -> None:
        """Break every viewer's connection to a desktop."""
        self._call(self.machine(name).screen.cut)

    def copy(self, name: str, text: str) -> None:
        """Something is copied inside a desktop."""
        self._call(self.machine(name).screen.copy, text)

    def kill_machine(self, name: str, message: str) -> None:
        self.run(self.machine(name).die(message))

    def _call(self, act: Callable[..., None], *arguments: object) -> None:
        async def call() -> None:
            act(*arguments)

        self.run(call())

    async def pass_step(self, step: str) -> None:
        if gate := self._held.get(step):
            await gate.wait()

    async def forget(self, desktop_id: str) -> None:
        if machine := self.machines.pop(desktop_id, None):
            await machine.close()

    async def listen(self, path: Path, handlers: Mapping[str, wire.Handler]) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await wire.handle_connection(reader, writer, handlers, on_unknown_error=unknown)

        server = await asyncio.start_unix_server(serve, path, limit=wire.MAX_LINE)
        path.chmod(0o666)
        self._servers.append(server)
        return server

    def _handlers(self) -> dict[str, wire.Handler]:
        return {
            name: getattr(self, f"_{name}")
            for name in ("hello", "create", "list", "remove", "sweep", "images", "doctor")
        }

    async def _hello(self, _call: wire.Call) -> dict[str, Any]:
        works = {"works": True, "isolation": "container", "detail": "fake", "hint": ""}
        not_here = {
            "works": False,
            "isolation": "vm",
            "detail": "no KVM",
            "hint": "use a host with /dev/kvm",
        }
        return {
            "version": "0",
            "pid": os.getpid(),
            "home": str(self.home.root),
            "runtimes": {"container": works, "qemu": not_here, "firecracker": not_here},
        }

    async def _create(self, call: wire.Call) -> dict[str, Any]:
        spec = DesktopSpec.from_json(call.args["spec"])
        machine = self.machines[spec.id] = Machine(self, spec)
        await machine.open()
        return {"id": spec.id}

    async def _list(self, _call: wire.Call) -> dict[str, Any]:
        return {
            "desktops": [
                {"id": key, "alive": True, "state": str(machine.state), "keeper_pid": os.getpid()}
                for key, machine in self.machines.items()
            ]
        }

    async def _remove(self, call: wire.Call) -> dict[str, Any]:
        await self.forget(call.args["id"])
        return {}

    async def _sweep(self, _call: wire.Call) -> dict[str, Any]:
        return {"removed": [], "problems": []}

    async def _images(self, _call: wire.Call) -> dict[str, Any]:
        return {"images": [IMAGE]}

    async def _doctor(self, _call: wire.Call) -> dict[str, Any]:
        return {"checks": []}


def unknown(error: BaseException) -> OrielError:
    return OrielError(f"the fake host failed: {error!r}")
