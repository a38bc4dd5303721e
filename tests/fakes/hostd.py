"""A host without machines: hostd and its keepers on real sockets, speaking the protocol of
docs/internals.md; desktops are objects in memory with a screen, an agent and a Chrome of their own.

In tests: `async with FakeHost(home) as host`. As a program, for work on the page or the command line:

    python -m tests.fakes.hostd --home DIR [--step-seconds 0.2]
    python -m oriel.controller --home DIR --port 8080

It keeps nothing: ended and started again it is a host whose desktops have vanished.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oriel
from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.egress import EgressSpec
from oriel.model.errors import NotFoundError, OrielError, StateError, UnavailableError
from oriel.model.events import utc_now
from oriel.model.spec import DesktopSpec
from oriel.model.state import State
from tests.fakes.agent import FakeAgent
from tests.fakes.chrome import serve_chrome
from tests.fakes.rfb import FakeScreen, serve_rfb

IMAGE = "default@0123456789ab"
STEPS = ("link", "disk", "gateway", "machine", "agent", "identity", "windows")
WORKING = {
    "firecracker": {"works": False, "isolation": "vm", "detail": "no KVM", "hint": "use a host with KVM"},
    "qemu": {"works": True, "isolation": "emulated-vm", "detail": "emulated", "hint": ""},
    "container": {"works": True, "isolation": "container", "detail": "works", "hint": ""},
}


@dataclass(eq=False)
class FakeDesktop:
    """A keeper and what it keeps. `fail_start`: raised by the next start. `hold`: cleared, a start waits."""

    spec: DesktopSpec
    path: Path
    step_s: float = 0.0
    state: State = State.CREATING
    events: list[dict[str, Any]] = field(default_factory=list)
    egress: EgressSpec | None = None
    configured: int = 0
    fail_start: OrielError | None = None
    fail_remove: OrielError | None = None
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    followers: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.hold.set()
        self.screen = FakeScreen(width=self.spec.screen.width, height=self.spec.screen.height)
        self.agent = FakeAgent(self.screen)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[Any] | None = None

    @property
    def alive(self) -> bool:
        return self._server is not None

    async def open(self) -> None:
        """The keeper answers."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path=self.path, limit=wire.MAX_LINE)

    async def close(self) -> None:
        """The keeper dies: every connection breaks. The machine goes on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def record(self, kind: str, message: str = "", **data: Any) -> None:
        self.events.append({
            "seq": len(self.events) + 1, "at": utc_now(), "desktop": self.spec.id, "kind": kind,
            "message": message, "data": data,
        })  # fmt: skip
        for news in self.followers:
            news.set()

    async def become(self, state: State, **data: Any) -> None:
        self.state = state
        await self.record(f"state.{state}", **data)

    async def die(self, why: str = "killed") -> None:
        """The machine ends by itself."""
        error = {"code": "machine_exited", "message": f"the machine ended: {why}", "hint": "start it again",
                 "console": "kernel panic"}  # fmt: skip
        await self.become(State.FAILED, error=error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        handlers = {
            name.removeprefix("on_"): getattr(self, name) for name in dir(self) if name.startswith("on_")
        }
        try:
            await wire.handle_connection(
                reader, writer, handlers, on_unknown_error=lambda e: OrielError(repr(e))
            )
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def on_hello(self, _call: wire.Call) -> dict:
        return {
            "id": self.spec.id,
            "pid": 1,
            "version": "fake",
            "state": str(self.state),
            "seq": len(self.events),
        }

    async def on_inspect(self, _call: wire.Call) -> dict:
        egress = {"mode": "none", "proxy": ""} if self.egress is None else {
            "mode": str(self.egress.mode), "proxy": self.egress.proxy, "bytes_in": 5000, "bytes_out": 700,
            "connections": 12, "denied": 1, "upstream_ok": True, "exit_ip": "203.0.113.7",
        }  # fmt: skip
        told = {"id": self.spec.id, "state": str(self.state), "seq": len(self.events), "egress": egress,
                "timings": {}}  # fmt: skip
        if self.state is State.FAILED:
            told["error"] = next(
                (e["data"].get("error") for e in reversed(self.events) if e["kind"] == "state.failed"), None
            )
        return told

    async def on_configure_egress(self, call: wire.Call) -> dict:
        self.egress = EgressSpec.from_wire(call.args)
        self.configured += 1
        return {}

    async def on_start(self, call: wire.Call) -> dict:
        if self.state not in (State.CREATING, State.STOPPED, State.FAILED):
            raise StateError(f"the desktop is {self.state}")
        await self.become(State.STARTING)
        # As with the real one, a start goes on when its caller goes away.
        self._starting = asyncio.create_task(self._start())
        error = await asyncio.shield(self._starting)
        if error is not None:
            raise error
        return {"timings": dict.fromkeys(STEPS, self.step_s) | {"total": len(STEPS) * self.step_s}}

    async def _start(self) -> OrielError | None:
        for step in STEPS:
            await asyncio.sleep(self.step_s)
            if step == "machine":
                await self.record("machine.started", pid=1, argv=["machine", "--secret-of-the-host"])
            await self.record(f"step.{step}", seconds=self.step_s)
        await self.hold.wait()
        if self.state is not State.STARTING:
            return StateError("the start was given up")
        if self.fail_start is not None:
            error, self.fail_start = self.fail_start, None
            told = {"code": error.code, "message": error.message, "hint": error.hint, "console": "last words"}
            await self.become(State.FAILED, error=told)
            return error
        await self.become(State.RUNNING, total=len(STEPS) * self.step_s)
        return None

    async def on_stop(self, call: wire.Call) -> dict:
        if self.state not in (State.STARTING, State.RUNNING, State.FAILED):
            raise StateError(f"the desktop is {self.state}")
        await self.become(State.STOPPING)
        self.hold.set()
        await self.become(State.STOPPED)
        return {}

    async def on_console(self, _call: wire.Call) -> dict:
        return {"text": "fake console\n"}

    async def on_events(self, call: wire.Call) -> None:
        await call.answer({})
        sent = call.args["after"]
        news = asyncio.Event()
        self.followers.add(news)
        caller = asyncio.create_task(call.reader.read())
        caller.add_done_callback(lambda _: news.set())
        try:
            while not caller.done():
                news.clear()
                for event in self.events[sent:]:
                    await wire.write_line(call.writer, event)
                    sent = event["seq"]
                await news.wait()
        finally:
            self.followers.discard(news)
            caller.cancel()

    async def on_agent(self, call: wire.Call) -> None:
        await self._relay(call, self.agent.serve)

    async def on_vnc(self, call: wire.Call) -> None:
        await self._relay(call, lambda reader, writer: serve_rfb(self.screen, reader, writer))

    async def on_cdp(self, call: wire.Call) -> None:
        await self._relay(call, serve_chrome)

    async def _relay(self, call: wire.Call, serve: Any) -> None:
        if self.state is not State.RUNNING:
            raise StateError(f"the desktop is {self.state}")
        await call.answer({})
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(call.reader, call.writer)


class FakeHost:
    """`runtimes`, `images`: what it says it has. `fail_create`: raised by the next create."""

    def __init__(self, home: Home, *, step_s: float = 0.0) -> None:
        self.home = home
        self.step_s = step_s
        self.desktops: dict[str, FakeDesktop] = {}
        self.runtimes: dict[str, Mapping[str, Any]] = {name: dict(told) for name, told in WORKING.items()}
        self.images: list[dict[str, Any]] = [{
            "id": IMAGE, "name": "default", "version": "0123456789ab", "created_at": utc_now(),
            "size_bytes": 700 << 20, "in_use_by": [], "default": True,
        }]  # fmt: skip
        self.fail_create: OrielError | None = None
        self.hold_start = False  # new desktops wait in their start until their `hold` is set
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeHost:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        for desktop in self.desktops.values():
            await desktop.close()

    async def open(self) -> None:
        """hostd answers."""
        self.home.hostd.mkdir(parents=True, exist_ok=True)
        self.home.desktops.mkdir(parents=True, exist_ok=True)
        self.home.hostd_socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, path=self.home.hostd_socket, limit=wire.MAX_LINE
        )

    async def close(self) -> None:
        """hostd goes; its keepers stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.home.hostd_socket.unlink(missing_ok=True)

    def named(self, name: str) -> FakeDesktop:
        return next(desktop for desktop in self.desktops.values() if desktop.spec.name == name)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers = {
            name.removeprefix("on_"): getattr(self, name) for name in dir(self) if name.startswith("on_")
        }
        with contextlib.suppress(asyncio.CancelledError):
            await wire.handle_connection(
                reader, writer, handlers, on_unknown_error=lambda e: OrielError(repr(e))
            )

    async def on_hello(self, _call: wire.Call) -> dict:
        return {
            "version": oriel.__version__,
            "pid": 1,
            "home": str(self.home.root),
            "runtimes": self.runtimes,
        }

    async def on_create(self, call: wire.Call) -> dict:
        if self.fail_create is not None:
            error, self.fail_create = self.fail_create, None
            raise error
        spec = DesktopSpec.from_json(call.args["spec"])
        if spec.id in self.desktops:
            raise StateError(f"there is already a desktop {spec.id}")
        desktop = FakeDesktop(spec, self.home.desktop(spec.id).keeper_socket, self.step_s)
        if self.hold_start:
            desktop.hold.clear()
        await desktop.open()
        self.desktops[spec.id] = desktop
        return {"id": spec.id}

    async def on_list(self, _call: wire.Call) -> dict:
        return {
            "desktops": [
                {"id": id_, "alive": one.alive, "state": str(one.state), "keeper_pid": 1}
                for id_, one in self.desktops.items()
            ]
        }

    async def on_remove(self, call: wire.Call) -> dict:
        desktop = self.desktops.get(call.args["id"])
        if desktop is None:
            return {}
        if desktop.fail_remove is not None:
            error, desktop.fail_remove = desktop.fail_remove, None
            raise error
        await desktop.become(State.DELETING)
        desktop.hold.set()
        await desktop.close()
        del self.desktops[call.args["id"]]
        shutil.rmtree(desktop.path.parent, ignore_errors=True)
        return {}

    async def on_images(self, _call: wire.Call) -> dict:
        return {"images": self.images}

    async def on_image_build(self, call: wire.Call) -> None:
        if call.args["recipe"] != "default":
            raise NotFoundError(f"there is no recipe {call.args['recipe']}")
        await call.answer({})
        done = {"phase": "done", "message": "", "done": True, "image": IMAGE}
        for line in ({"phase": "base", "message": "packages"}, done):
            await wire.write_line(call.writer, line)

    async def on_image_delete(self, call: wire.Call) -> dict:
        if any(desktop.spec.image == call.args["id"] for desktop in self.desktops.values()):
            raise StateError("a desktop uses this image")
        self.images = [image for image in self.images if image["id"] != call.args["id"]]
        return {}

    async def on_doctor(self, _call: wire.Call) -> dict:
        return {"checks": [{"id": "root", "ok": True, "fatal": True, "detail": "fake", "hint": ""}]}


def gone() -> OrielError:
    return UnavailableError("fake trouble")


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.2)
    options = parser.parse_args()
    async with FakeHost(Home(options.home.resolve()), step_s=options.step_seconds):
        print(f"a fake host serves {options.home}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
