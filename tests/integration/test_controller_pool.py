"""The warm pool, templates made by themselves, and room on the host: the controller over a fake host."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from oriel.controller import pool as pool_module
from oriel.controller import templates as templates_module
from oriel.fleet import Capacity
from oriel.model.errors import BusyError, LaunchError, NoSpaceError, StateError
from oriel.model.state import State
from tests.fakes.controller import Running, against
from tests.fakes.keeper import FakeDesktop


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other at once, and no other program of this host makes it look busy."""
    monkeypatch.setattr(pool_module, "EVERY_S", 0.02)
    monkeypatch.setattr(pool_module, "AGAIN_S", 0.02)
    monkeypatch.setattr(templates_module, "EVERY_S", 0.02)
    monkeypatch.setattr("oriel.controller.room.CALM_BUSY", 2.0)


def spares(c: Running) -> list[FakeDesktop]:
    return [one for one in c.host.desktops.values() if one.spec.spare and one.warm]


async def until_spare(c: Running, count: int) -> list[FakeDesktop]:
    """Once just so many wait, by the API and on the host."""
    async with asyncio.timeout(60):
        while len(spares(c)) != count or sum(kind["ready"] for kind in c.parts.pool.describe()) != count:
            await asyncio.sleep(0.01)
    return spares(c)


def crowded(c: Running, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """The host says that it has no more than this."""
    told = {"vcpus": 2, "memory_mib": 16384, "memory_free_mib": 8192, "disk_mib": 1 << 20,
            "disk_free_mib": 1 << 19}  # fmt: skip

    async def capacity() -> Capacity:
        return Capacity(**(told | changes))

    monkeypatch.setattr(c.parts.fleet, "capacity", capacity)


@against(pool_size=1)
async def test_a_create_takes_the_one_that_waits_and_another_is_made(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    made = await c.desktop("mine")
    assert made is waiting
    assert (made.spec.name, made.spec.spare, made.state) == ("mine", False, State.RUNNING)
    told = await c.state("mine")
    assert (told["id"], told["session_id"]) == (waiting.spec.id, made.spec.session_id)
    assert made.spec.session_id != "spare"
    assert told["timings"]["machine"] < 9  # of its start, not of what was done ahead
    (other,) = await until_spare(c, 1)
    assert other is not waiting
    async with c.http() as http:
        (kind,) = (await http.get("/v1/pool")).json()["items"]
        figures = (await http.get("/metrics")).text
    assert (kind["runtime"], kind["wanted"], kind["taken"], kind["missed"]) == ("container", 1, 1, 0)
    assert 'oriel_pool_desktops{count="ready",runtime="container"} 1.0' in figures


@against(pool_size=1)
async def test_a_wish_for_another_kind_is_not_met_by_it_and_is_kept_from_then_on(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    async with c.sdk() as oriel:
        await oriel.desktops.create("large", memory_mib=4096, deadline_s=60)
    assert c.host.named("large") is not waiting
    kinds = {one.spec.memory_mib for one in await until_spare(c, 2)}
    assert kinds == {2048, 4096}


@against(pool_size=1)
async def test_one_that_is_taken_waits_on_if_the_wish_cannot_be_stored(c: Running) -> None:
    await c.desktop("mine")
    (waiting,) = await until_spare(c, 1)
    async with c.sdk() as oriel:
        with pytest.raises(StateError, match="named 'mine' already"):
            await oriel.desktops.create("mine", deadline_s=60)
    assert (await until_spare(c, 1))[0] is waiting
    assert waiting.spec.spare


@against(pool_size=1)
async def test_a_controller_that_was_killed_adopts_what_waits_and_removes_what_cannot_be_used(
    c: Running,
) -> None:
    (waiting,) = await until_spare(c, 1)
    await c.stop()
    spec = replace(waiting.spec, id="d-aaaaaaaaaa")
    half = FakeDesktop(spec, c.home.desktop(spec.id).keeper_socket, c.host.behaviour)
    await half.open()
    c.host.desktops["d-aaaaaaaaaa"] = half
    await c.start()
    assert await until_spare(c, 1) == [waiting]
    async with asyncio.timeout(60):
        while "d-aaaaaaaaaa" in c.host.desktops:
            await asyncio.sleep(0.01)
    assert await c.desktop("mine") is waiting


@against(pool_size=1)
async def test_one_that_has_ended_is_replaced(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    waiting.warm = False
    (other,) = await until_spare(c, 1)
    assert other is not waiting
    assert waiting.spec.id not in c.host.desktops


@against(pool_size=1)
async def test_a_new_image_drains_what_waits_of_the_old(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    newer = {**c.host.images[0], "id": "default@fedcba987654", "created_at": "2099-01-01T00:00:00.000Z"}
    c.host.images = [newer, {**c.host.images[0], "default": False}]
    async with asyncio.timeout(60):
        while waiting.spec.id in c.host.desktops:
            await asyncio.sleep(0.01)
    (other,) = await until_spare(c, 1)
    assert other.spec.image == "default@fedcba987654"
    async with c.http() as http:  # what waits is no use of an image
        assert (await http.delete("/v1/images/default@0123456789ab")).status_code == 204


@against(pool_size=1)
async def test_one_that_cannot_be_made_leaves_nothing_and_is_told(c: Running) -> None:
    await until_spare(c, 1)
    c.host.behaviour.fail_warm = LaunchError("no machine today")
    async with c.sdk() as oriel:
        await oriel.desktops.create("large", memory_mib=4096, deadline_s=60)
    await until_spare(c, 2)  # at the next attempt
    assert len(c.host.desktops) == 3


@against(pool_size=1)
async def test_nothing_is_made_ahead_on_a_host_that_is_emptied(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    async with c.sdk() as oriel:
        await oriel.drain()
        waiting.warm = False
        await until_spare(c, 0)
        assert not await c.parts.room.calm()
        await oriel.drain(on=False)
    await until_spare(c, 1)


@against(pool_size=1)
async def test_what_waits_makes_room_and_nothing_is_made_without(
    c: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_spare(c, 1)
    crowded(c, monkeypatch, memory_free_mib=1200)
    async with c.sdk() as oriel:
        with pytest.raises(BusyError, match="MiB of memory"):
            await oriel.desktops.create("mine")
    async with asyncio.timeout(60):
        while spares(c) or "free" not in c.parts.pool.describe()[0]["problem"]:
            await asyncio.sleep(0.01)
    crowded(c, monkeypatch)
    await until_spare(c, 1)


@against(pool_size=1, keep_templates=True, runtime="qemu")
async def test_machines_wait_for_their_template_and_go_with_it(c: Running) -> None:
    (waiting,) = await until_spare(c, 1)
    assert [one["runtime"] for one in c.host.templates.values()] == ["qemu"]
    c.host.templates["qemu-0123456789ab"]["problem"] = "it was saved under another engine"
    async with asyncio.timeout(60):
        while waiting.spec.id in c.host.desktops or not c.host.templates:
            await asyncio.sleep(0.01)
    (other,) = await until_spare(c, 1)
    assert other is not waiting
    assert c.host.templates["qemu-0123456789ab"]["problem"] == ""


@against()
async def test_a_full_host_says_when_to_come_again(c: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = {"name": "mine"}
    async with c.http() as http:
        for short, status, code in (
            ({"memory_free_mib": 600}, 429, "host_full"),
            ({"load": 100.0}, 429, "host_busy"),
            ({"disk_free_mib": 100}, 507, "no_space"),
        ):
            crowded(c, monkeypatch, **short)
            answer = await http.post("/v1/desktops", json=wish)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert status == 507 or int(answer.headers["Retry-After"]) >= 1
        assert (await http.get("/v1/desktops")).json()["items"] == []
    assert not c.host.desktops


@against(concurrent_starts=1, waiting_starts=1)
async def test_few_start_some_wait_and_the_rest_is_told_when_to_come_again(c: Running) -> None:
    c.host.hold_start = True
    async with c.http() as http:
        answers = [await http.post("/v1/desktops", json={"name": name}) for name in ("one", "two", "three")]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert int(answers[2].headers["Retry-After"]) >= 1
        async with asyncio.timeout(60):
            while not c.host.desktops:
                await asyncio.sleep(0.01)
        assert [one.spec.name for one in c.host.desktops.values()] == ["one"]
        c.host.hold_start = False
        c.host.named("one").hold.set()
        for name in ("one", "two"):
            await c.until(name, "running")
        assert (await http.get("/v1/desktops/three")).status_code == 404


@against()
async def test_one_that_cannot_wake_for_want_of_memory_stays_paused(
    c: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await c.desktop("mine")
    async with c.sdk() as oriel:
        desktop = await oriel.desktops.get("mine")
        await desktop.pause()
        crowded(c, monkeypatch, memory_free_mib=600)
        with pytest.raises(BusyError):
            await desktop.windows()
        assert (await desktop.refresh()).state == "paused"
        crowded(c, monkeypatch, disk_free_mib=0)
        with pytest.raises(NoSpaceError):
            await desktop.fork("copy")
