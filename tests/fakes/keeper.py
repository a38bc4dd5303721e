"""A keeper without a desktop: its verbs on a real socket, over an object in memory with a screen, an agent
and a Chrome of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.model import wire
from oriel.model.egress import EgressSpec
from oriel.model.errors import LaunchError, NotFoundError, OrielError, StateError
from oriel.model.events import utc_now
from oriel.model.spec import DesktopSpec
from oriel.model.state import State
from tests.fakes.agent import FakeAgent
from tests.fakes.chrome import serve_chrome
from tests.fakes.rfb import FakeScreen, serve_rfb

STEPS = ("link", "disk", "gateway", "machine", "agent", "identity", "windows")


@dataclass
class Behaviour:
    """What a host's desktops do out of the ordinary. `held`: a start waits at such a step until it is set;
    `failing`: the step at which the next start fails, and how."""

    step_s: float = 0.0
    screen_name: str = "fake desktop"
    console: str = "fake console\n"
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    failing: tuple[str, OrielError] | None = None
    screens_closed: bool = False
    fail_warm: OrielError | None = None


@dataclass(eq=False)
class FakeDesktop:
    """A keeper and what it keeps. `fail_start`: raised by the next start. `hold`: cleared, a start waits."""

    spec: DesktopSpec
    path: Path
    behaviour: Behaviour = field(default_factory=Behaviour)
    state: State = State.CREATING
    events: list[dict[str, Any]] = field(default_factory=list)
    egress: EgressSpec | None = None
    configured: int = 0
    fail_start: OrielError | None = None
    fail_remove: OrielError | None = None
    fail_pause: OrielError | None = None
    resumed: int = 0
    admissions: int = 0  # credentials that its relay has given out
    warm: bool = False
    bytes_in: int = 5000
    traffic: int = 0  # more of them at each look
    counted: dict[str, int] = field(default_factory=dict)  # by its VMM
    snapshots: list[str] = field(default_factory=list)
    origin: dict[str, str] | None = None  # of a fork: {desktop, snapshot}
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    followers: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.hold.set()
        screen = self.spec.screen
        self.screen = FakeScreen(screen.width, screen.height, self.behaviour.screen_name)
        self.agent = FakeAgent(self.screen)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[Any] | None = None
        self.timings: dict[str, float] = {}

    @property
    def alive(self) -> bool:
        return self._server is not None

    async def open(self) -> None:
        """The keeper answers."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name("spec.json").write_text(json.dumps(self.spec.to_json()))
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
        self.screen.cut()
        await self._fail(
            LaunchError(f"the machine ended: {why}", hint="start it again", code="machine_exited")
        )

    async def _fail(self, error: OrielError) -> None:
        told = {"code": error.code, "message": error.message, "hint": error.hint,
                "console": self.behaviour.console}  # fmt: skip
        await self.become(State.FAILED, error=told)

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
            "warm": self.warm,
        }

    async def on_usage(self, _call: wire.Call) -> dict:
        return {"memory_mib": 100.0, "private_mib": 60.0, "cpu_s": 1.0, "by": {}}

    async def on_warm(self, _call: wire.Call) -> dict:
        if self.behaviour.fail_warm is not None:
            error, self.behaviour.fail_warm = self.behaviour.fail_warm, None
            raise error
        await self.record("step.machine", seconds=9.0)
        self.warm = True
        return {"timings": {}}

    async def on_inspect(self, _call: wire.Call) -> dict:
        self.bytes_in += self.traffic
        egress = {"mode": "none", "proxy": ""} if self.egress is None else {
            "mode": str(self.egress.mode), "proxy": self.egress.proxy, "bytes_in": self.bytes_in,
            "bytes_out": 700, "connections": 12, "open": 2, "denied": 1,
            "denied_by_reason": {"not_public": 1},
            "upstream_errors": 0, "upstream_ok": True, "exit_ip": "203.0.113.7", "quota_used": 5700,
            "latency_ms": {"count": 2, "sum": 30.0, "buckets": {"10": 1, "50": 2, "+Inf": 2}, "p50": 10.0,
                           "p95": 50.0},
        }  # fmt: skip
        told = {"id": self.spec.id, "state": str(self.state), "seq": len(self.events), "egress": egress,
                "spec": self.spec.to_json(),
                "timings": self.timings}  # fmt: skip
        if self.counted:
            told["machine"] = {"counted": self.counted}
        if self.state is State.FAILED:
            told["error"] = next(
                (e["data"].get("error") for e in reversed(self.events) if e["kind"] == "state.failed"), None
            )
        return told

    async def on_configure_egress(self, call: wire.Call) -> dict:
        self.egress = EgressSpec.from_wire(call.args)
        self.configured += 1
        return {}

    async def on_access_log(self, _call: wire.Call) -> dict:
        return {"text": 'cut off"}\n{"at":"2026-01-05T10:00:00.000Z","host":"a.test","port":443}'}

    async def on_start(self, call: wire.Call) -> dict:
        if self.state not in (State.CREATING, State.STOPPED, State.FAILED):
            raise StateError(f"the desktop is {self.state}")
        self.warm = False
        await self.become(State.STARTING)
        # As with the real one, a start goes on when its caller goes away.
        self._starting = asyncio.create_task(self._start())
        error = await asyncio.shield(self._starting)
        if error is not None:
            raise error
        return {"timings": self.timings}

    async def _start(self) -> OrielError | None:
        began = time.monotonic()
        self.timings = {}
        for step in STEPS:
            if (error := await self._step(step)) is not None:
                return error
        await self.hold.wait()
        if self.state is not State.STARTING:
            return StateError("the start was given up")
        if self.fail_start is not None:
            error, self.fail_start = self.fail_start, None
            await self._fail(error)
            return error
        self.timings["total"] = round(time.monotonic() - began, 4)
        await self.become(State.RUNNING, total=self.timings["total"])
        return None

    async def _step(self, step: str) -> OrielError | None:
        began = time.monotonic()
        await self.record(f"begin.{step}")
        await asyncio.sleep(self.behaviour.step_s)
        if gate := self.behaviour.held.get(step):
            await gate.wait()
        if self.behaviour.failing and self.behaviour.failing[0] == step:
            (_, error), self.behaviour.failing = self.behaviour.failing, None
            await self._fail(error)
            return error
        if step == "machine":
            await self.record("machine.started", pid=1, argv=["machine", "--secret-of-the-host"])
        self.timings[step] = round(time.monotonic() - began, 4)
        await self.record(f"step.{step}", seconds=self.timings[step])
        return None

    async def on_pause(self, _call: wire.Call) -> dict:
        if self.state is not State.RUNNING:
            raise StateError(f"the desktop is {self.state}")
        await self.become(State.PAUSING)
        if self.fail_pause is not None:
            error, self.fail_pause = self.fail_pause, None
            await self.become(State.RUNNING)
            raise error
        self.screen.cut()
        await self.become(State.PAUSED)
        return {"seconds": 0.0, "frozen": False}

    async def on_resume(self, _call: wire.Call) -> dict:
        if self.state is not State.PAUSED:
            raise StateError(f"the desktop is {self.state}")
        self.resumed += 1
        await self.become(State.RESUMING)
        await self.hold.wait()
        await self.become(State.RUNNING, resumed=0.0)
        return {"timings": {"clock": 0.0}}

    async def on_assign(self, call: wire.Call) -> dict:
        self.spec = DesktopSpec.from_json(call.args["spec"])
        return {}

    async def on_snapshot(self, call: wire.Call) -> dict:
        self.snapshots.append(call.args["name"])
        return {"name": call.args["name"], "seconds": 0.0, "stood_still_s": 0.0}

    async def on_snapshots(self, _call: wire.Call) -> dict:
        return {"snapshots": [
            {"name": name, "at": utc_now(), "bytes": 1, "seconds": 0.0} for name in reversed(self.snapshots)
        ]}  # fmt: skip

    async def on_delete_snapshot(self, call: wire.Call) -> dict:
        if call.args["name"] not in self.snapshots:
            raise NotFoundError("there is no such snapshot")
        self.snapshots.remove(call.args["name"])
        return {}

    async def on_rewind(self, _call: wire.Call) -> dict:
        if self.state is not State.STOPPED:
            await self.become(State.STOPPING)
            self.screen.cut()
            await self.become(State.STOPPED)
        return {"seconds": 0.0}

    async def on_stop(self, call: wire.Call) -> dict:
        if self.state not in (State.STARTING, State.RUNNING, State.PAUSED, State.FAILED):
            raise StateError(f"the desktop is {self.state}")
        await self.become(State.STOPPING)
        self.screen.cut()
        self.hold.set()
        await self.become(State.STOPPED)
        return {}

    async def on_console(self, _call: wire.Call) -> dict:
        return {"text": self.behaviour.console}

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
        if self.behaviour.screens_closed:
            raise StateError("the screen does not answer")
        await self._relay(call, lambda reader, writer: serve_rfb(self.screen, reader, writer))

    async def on_media(self, call: wire.Call) -> None:
        """A relay that admits nobody."""

        def viewer() -> dict:
            self.admissions += 1
            return {"ufrag": f"viewer{self.admissions}", "pwd": "0" * 32}

        await call.answer({
            "session": "s", "port": 40000, "viewer": viewer(), "guest": {"ufrag": "guest", "pwd": "1" * 32},
        })  # fmt: skip
        while await wire.read_line(call.reader) is not None:
            await wire.write_line(call.writer, {"viewer": viewer()})

    async def on_cdp(self, call: wire.Call) -> None:
        await self._relay(call, serve_chrome)

    async def _relay(self, call: wire.Call, serve: Any) -> None:
        if self.state is not State.RUNNING:
            raise StateError(f"the desktop is {self.state}")
        await call.answer({})
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(call.reader, call.writer)
