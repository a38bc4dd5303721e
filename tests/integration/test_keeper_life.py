"""A keeper's verbs from create to delete, with a real namespace and gateway around a fake machine."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.errors import InvalidError, NotFoundError, OrielError, StateError
from tests.integration.keepers import Keeper, kept, new_spec
from tests.inventory import Inventory

STEPS = ["link", "disk", "gateway", "machine", "agent", "identity", "windows"]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, need_root: None) -> Home:
    return Home(tmp_path_factory.mktemp("h"))


def run(scenario: Callable[[], Coroutine[Any, Any, None]], deadline_s: float = 60) -> None:
    async def timed() -> None:
        async with asyncio.timeout(deadline_s):
            await scenario()

    asyncio.run(timed())


def held(keeper: Keeper) -> list[str]:
    """What a desktop holds on the host beyond its keeper and its slot."""
    return [
        line
        for line in Inventory.take().of(keeper.spec.id)
        if not line.startswith("slots: ") and "fakes.keeper" not in line
    ]


async def read_all(stream: wire.Stream) -> AsyncIterator[dict[str, Any]]:
    while (line := await wire.read_line(stream.reader)) is not None:
        yield line


def test_start_goes_through_its_steps_and_the_guest_gets_its_identity(home: Home) -> None:
    async def scenario() -> None:
        spec = new_spec(name="lab-1", session_id="s-42")
        async with kept(home, spec) as keeper:
            assert (await keeper.ask("hello"))["state"] == "creating"
            before = time.time_ns()
            timings = (await keeper.ask("start", deadline_s=30))["timings"]
            assert list(timings) == [*STEPS, "total"]
            assert 0 < timings["total"] < 10
            identity = json.loads((keeper.paths.machine / "identity.json").read_text())
            assert (identity["session_id"], identity["hostname"]) == ("s-42", "lab-1")
            assert identity["screen"] == {"width": 1280, "height": 720}
            assert before < identity["time_ns"] < time.time_ns()
            assert len(base64.b64decode(identity["entropy"])) == 64
            assert len(bytes.fromhex(identity["machine_id"])) == 16
            told = await keeper.ask("inspect")
            assert (told["state"], told["timings"], told["egress"]["mode"]) == ("running", timings, "none")
            assert told["machine"]["isolation"] == "container"
            os.kill(told["machine"]["pid"], 0)
            assert "fake guest up" in (await keeper.ask("console", bytes=1000))["text"]
            kinds = keeper.kinds()
            assert [kind for kind in kinds if kind.startswith(("begin.", "step."))] == [
                f"{stage}.{name}" for name in STEPS for stage in ("begin", "step")
            ]
            assert [kind for kind in kinds if kind.startswith("state.")] == [
                "state.starting",
                "state.running",
            ]

    run(scenario)


def test_the_relays_reach_the_screen_the_agent_and_chrome(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            with pytest.raises(StateError, match="nothing answers"):
                await keeper.stream("vnc")
            await keeper.ask("start", deadline_s=30)
            vnc = await keeper.stream("vnc")
            assert await vnc.reader.readexactly(12) == b"RFB 003.008\n"
            for stream in (vnc, await keeper.stream("cdp")):
                stream.writer.write(b"ping")
                stream.writer.write_eof()
                assert await stream.reader.read() == b"ping"
                await wire.close(stream.writer)
            agent = await keeper.stream("agent")
            await wire.write_line(agent.writer, {"verb": "wait_ready", "args": {"kinds": ["terminal"]}})
            answer = await wire.read_line(agent.reader)
            assert answer is not None
            assert answer["result"]["windows"] == ["terminal"]
            await wire.close(agent.writer)

    run(scenario)


def test_a_stopped_desktop_keeps_its_disk_and_starts_again(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            keeper.paths.disk_image.write_bytes(b"precious")
            await keeper.ask("stop", deadline_s=20)
            assert (await keeper.ask("hello"))["state"] == "stopped"
            assert held(keeper) == []
            assert keeper.paths.disk_image.read_bytes() == b"precious"
            with pytest.raises(StateError, match="it cannot stop now"):
                await keeper.ask("stop", deadline_s=20)
            await keeper.ask("start", deadline_s=30)
            assert keeper.paths.disk_image.read_bytes() == b"precious"

    run(scenario)


def test_a_guest_that_will_not_go_is_ended_within_the_deadline(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec("stubborn")) as keeper:
            await keeper.ask("start", deadline_s=30)
            began = time.monotonic()
            await keeper.ask("stop", deadline_s=2)
            assert 1 < time.monotonic() - began < 30
            assert held(keeper) == []

    run(scenario)


@pytest.mark.parametrize(
    ("behaviour", "code", "says", "step"),
    [
        ("unstartable", "launch_failed", "no such firmware", "machine"),
        ("silent", "start_timeout", "'agent' was not done", "agent"),
        ("crashes", "machine_exited", "ended while it was starting", "windows"),
        ("unpainted", None, None, "windows"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(
    home: Home, behaviour: str, code: str | None, says: str | None, step: str
) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec(behaviour)) as keeper:
            with pytest.raises(OrielError, match=says) as caught:
                await keeper.ask("start", deadline_s=3)
            assert code in (None, caught.value.code)
            assert caught.value.hint or code is None
            told = await keeper.ask("inspect")
            assert told["state"] == "failed"
            assert told["error"]["message"] == caught.value.message
            if behaviour == "crashes":
                assert "the fake had enough" in told["error"]["console"]
            kinds = keeper.kinds()
            assert f"begin.{step}" in kinds
            assert f"step.{step}" not in kinds
            assert held(keeper) == []

    run(scenario)


def test_a_machine_that_dies_is_noticed_and_can_start_again(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            seq = (await keeper.ask("hello"))["seq"]
            vnc = await keeper.stream("vnc")
            os.kill((await keeper.ask("inspect"))["machine"]["pid"], signal.SIGKILL)
            failed = await keeper.until_event("state.failed", after=seq, deadline_s=30)
            assert failed.data["error"]["code"] == "machine_exited"
            assert keeper.kinds()[seq : seq + 2] == ["machine.exited", "state.failed"]
            assert await vnc.reader.read() == b"RFB 003.008\n"
            await wire.close(vnc.writer)
            # At once: the start waits for the clean-up before it.
            await keeper.ask("start", deadline_s=30)
            assert (await keeper.ask("inspect"))["state"] == "running"

    run(scenario)


def test_one_verb_at_a_time(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec("silent")) as keeper:
            first = asyncio.create_task(keeper.ask("start", deadline_s=30))
            await keeper.until_event("begin.agent")
            with pytest.raises(StateError, match="is starting: it cannot start now"):
                await keeper.ask("start", deadline_s=30)
            await keeper.ask("stop", deadline_s=10)
            with pytest.raises(StateError, match="given up"):
                await first
            assert (await keeper.ask("hello"))["state"] == "stopped"
            assert held(keeper) == []

    run(scenario)


@pytest.mark.parametrize("step", ["link", "gateway", "machine", "agent"])
def test_delete_during_a_start_cancels_it_and_takes_all_away(home: Home, step: str) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec("silent")) as keeper:
            start = asyncio.create_task(keeper.ask("start", deadline_s=30))
            await keeper.until_event(f"begin.{step}")
            await asyncio.gather(keeper.ask("delete"), keeper.ask("delete"))
            with pytest.raises(StateError, match="given up"):
                await start
            assert await keeper.gone() == 0
            assert held(keeper) == []
            assert not keeper.paths.disk_image.exists()
            assert keeper.kinds()[-1] == "desktop.gone"

    run(scenario)


def test_the_start_goes_on_when_its_caller_goes_away(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            _, writer = await wire.unix(keeper.paths.keeper_socket)()
            await wire.write_line(writer, {"verb": "start", "args": {"deadline_s": 30}})
            await keeper.until_event("begin.link")
            writer.transport.abort()
            await keeper.until_event("state.running")

    run(scenario)


def test_events_are_replayed_and_then_live(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            stream = await keeper.stream("events", after=0)
            await keeper.ask("start", deadline_s=30)
            await keeper.ask("stop", deadline_s=20)
            seen = []
            async for line in read_all(stream):
                seen.append(line)
                if line["kind"] == "state.stopped":
                    break
            await wire.close(stream.writer)
            assert [line["seq"] for line in seen] == list(range(1, len(seen) + 1))
            late = await keeper.stream("events", after=seen[-3]["seq"])
            assert [await wire.read_line(late.reader) for _ in range(2)] == seen[-2:]
            await wire.close(late.writer)

    run(scenario)


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("start", {}),
        ("start", {"deadline_s": "9"}),
        ("start", {"deadline_s": -1}),
        ("stop", {"deadline_s": True}),
        ("console", {"bytes": 0}),
        ("events", {"after": -1}),
        ("configure_egress", {"mode": "everything"}),
        ("configure_egress", {"mode": "proxy", "policy": {"unknown": 1}}),
        ("configure_egress", {"mode": "proxy", "upstreams": 7}),
    ],
)
def test_bad_arguments_are_refused_and_change_nothing(home: Home, verb: str, args: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            with pytest.raises(InvalidError):
                await keeper.ask(verb, **args)
            with pytest.raises(NotFoundError, match="no verb"):
                await keeper.ask("reboot")
            assert keeper.kinds() == ["keeper.started"]

    run(scenario)
