"""What desktops are told to do by themselves, and hosts that are emptied: the API over a fake host."""

from __future__ import annotations

from typing import Any

import pytest

from oriel.controller.restarts import pause_s
from oriel.model.state import State
from tests.fakes.controller import Running, against


async def make(c: Running, name: str, **rules: Any) -> None:
    async with c.http() as http:
        made = await http.post("/v1/desktops", json={"name": name, **rules})
        assert made.status_code == 201, made.text
        assert {key: made.json()[key] for key in rules} == rules
    await c.until(name, "running")


async def runs_again(c: Running, name: str) -> int:
    """Until it has been started again; how often it was said so."""
    async with c.sdk() as oriel:
        said = 0
        async for event in (await oriel.desktop(name)).events(after=0):
            said += event.kind == "restart.waiting"
            if said and event.kind == "state.running":
                return said
    raise AssertionError("its events ended")


@against()
async def test_one_that_failed_is_started_again_if_it_is_to_be(c: Running) -> None:
    await make(c, "left", restart="no")
    await make(c, "kept", restart="on-failure")
    for name in ("left", "kept"):
        await c.host.named(name).die()
    assert await runs_again(c, "kept") == 1
    assert (await c.state("left"))["state"] == "failed"
    assert b"oriel_desktop_restarts_total 1.0" in (await c.ask("", "GET", "/metrics")).content


@against()
async def test_one_that_cannot_start_is_tried_again_and_again(c: Running) -> None:
    await make(c, "mine", restart="on-failure")
    keeper = c.host.named("mine")
    for _ in range(2):
        await keeper.die()
        await runs_again(c, "mine")
        await c.until("mine", "running")
    # A controller that was restarted goes on counting where the former was.
    await c.stop()
    await c.start()
    await keeper.die()
    await runs_again(c, "mine")
    async with c.sdk() as oriel:
        events = (await oriel.desktop("mine")).events(after=0)
        attempts = []
        async for event in events:
            if event.kind == "restart.waiting":
                attempts.append((event.data["attempt"], event.data["in_s"]))
            if len(attempts) == 3:
                break
    assert attempts == [(1, 1.0), (2, 2.0), (3, 4.0)]


def test_pauses_grow_up_to_five_minutes() -> None:
    assert [pause_s(attempt) for attempt in (0, 1, 2, 8, 9, 1000)] == [1, 2, 4, 256, 300, 300]


@against()
async def test_after_the_host_was_restarted_those_that_always_run_do(c: Running) -> None:
    for name, policy in (("always", "always"), ("failures", "on-failure"), ("stopped", "always")):
        await make(c, name, restart=policy)
    async with c.http() as http:
        assert (await http.post("/v1/desktops/stopped/stop")).json()["state"] == "stopped"
    await c.stop()
    for name in ("always", "failures"):
        await c.host.named(name).become(State.STOPPED)
    await c.start()
    await runs_again(c, "always")
    assert [(await c.state(name))["state"] for name in ("failures", "stopped")] == ["stopped", "stopped"]


@pytest.mark.parametrize("rule", [{"max_age_s": 1}, {"idle_timeout_s": 1, "idle_action": "stop"}])
@against()
async def test_one_stops_at_its_age_or_unused_for_good(c: Running, rule: dict[str, Any]) -> None:
    await make(c, "mine", restart="always", **rule)
    assert (await c.until("mine", "stopped"))["error"] is None
    await make(c, "other", restart="on-failure")
    await c.host.named("other").die()
    await runs_again(c, "other")
    assert (await c.state("mine"))["state"] == "stopped"


@against()
async def test_a_paused_one_stops_at_its_age_too(c: Running) -> None:
    await make(c, "mine", idle_timeout_s=1)
    await c.until("mine", "paused")
    assert (await c.ask(c.token, "PATCH", "/v1/desktops/mine", json={"max_age_s": 1})).status_code == 200
    await c.until("mine", "stopped")


@against()
async def test_a_host_that_is_emptied_takes_nothing_new_and_keeps_what_runs(c: Running) -> None:
    await make(c, "mine")
    user = await c.person("ann")
    async with c.http() as http, c.sdk() as oriel:
        assert (await c.ask(user, "PUT", "/v1/host/drain", json={"on": True})).status_code == 403
        c.host.hold_start = True
        await http.post("/v1/desktops", json={"name": "starting"})
        await c.until("starting", "starting")
        assert await oriel.drain() == {"draining": True, "under_way": 1}
        refused = await http.post("/v1/desktops", json={"name": "new"})
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert (await http.get("/v1/desktops/mine/windows")).status_code == 200
        for desktop in c.host.desktops.values():
            desktop.hold.set()
        await c.until("starting", "running")
        while (await oriel.host())["under_way"]:
            pass
        await http.post("/v1/desktops/mine/stop")
        refused = await http.post("/v1/desktops/mine/start")
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert not (await oriel.drain(on=False))["draining"]
        assert (await http.post("/v1/desktops/mine/start")).status_code == 202
