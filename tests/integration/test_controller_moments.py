"""Pause, resume, fork, snapshots, rewind and templates: the API over a fake host on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from oriel.client.aio.desktop import Desktop
from oriel.model.errors import NoSpaceError, NotFoundError, OrielError, StateError
from oriel.model.state import State
from tests.fakes.controller import Running, against


@asynccontextmanager
async def one(c: Running) -> AsyncIterator[Desktop]:
    """A running desktop `mine`, as the SDK has it."""
    await c.desktop("mine")
    async with c.sdk() as oriel:
        yield await oriel.desktops.get("mine")


@against()
async def test_a_desktop_is_put_aside_and_goes_on(c: Running) -> None:
    async with one(c) as desktop:
        before = desktop.info
        assert (await desktop.pause()).state == "paused"
        assert (await desktop.pause()).state == "paused"
        resumed = await desktop.resume()
        assert (resumed.state, resumed.ready_at) == ("running", before.ready_at)
        assert resumed.timings["clock"] == 0
        assert c.host.named("mine").state is State.RUNNING


@against()
async def test_one_that_cannot_be_paused_runs_on(c: Running) -> None:
    async with one(c) as desktop:
        c.host.named("mine").fail_pause = NoSpaceError("the disk is full")
        with pytest.raises(NoSpaceError, match="the disk is full"):
            await desktop.pause()
        assert (await desktop.refresh()).state == "running"


@against()
async def test_whoever_needs_a_paused_desktop_wakes_it_and_many_wake_it_once(c: Running) -> None:
    async with one(c) as desktop:
        await desktop.pause()
        keeper = c.host.named("mine")
        keeper.hold.clear()
        asking = [asyncio.create_task(desktop.windows()) for _ in range(5)]
        while keeper.state is not State.RESUMING:
            await asyncio.sleep(0)
        keeper.hold.set()
        await asyncio.gather(*asking)
        assert keeper.resumed == 1
        await desktop.pause()
        async with await desktop.vnc() as socket:
            assert await socket.receive()
        assert keeper.resumed == 2


@against()
async def test_one_that_nobody_uses_pauses_by_itself_and_not_while_it_is_watched(c: Running) -> None:
    async with one(c) as desktop:
        async with await desktop.vnc() as socket:
            assert await socket.receive()
            await desktop.change(idle_timeout_s=1)
            async with c.sdk() as oriel:
                await (await oriel.desktops.create("unwatched", deadline_s=10)).change(idle_timeout_s=1)
            await c.until("unwatched", "paused")
            assert (await desktop.refresh()).state == "running"
        await c.until("mine", "paused")
        await desktop.windows()
        assert (await desktop.refresh()).state == "running"


@against(idle_bytes_per_second=1000)
async def test_one_that_has_traffic_is_used(c: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oriel.controller.rules.EVERY_S", 0.05)
    monkeypatch.setattr("oriel.controller.rules.LOOK_S", 0.1)
    async with one(c) as desktop:
        keeper = c.host.named("mine")
        keeper.traffic = 1 << 40
        before = keeper.bytes_in
        await desktop.change(idle_timeout_s=1)
        async with asyncio.timeout(60):
            while keeper.bytes_in < before + 3 * keeper.traffic:  # looked at three times when it was due
                await asyncio.sleep(0.01)
        assert (await desktop.refresh()).state == "running"
        keeper.traffic = 0
        await c.until("mine", "paused")


@against()
async def test_a_stopped_one_is_not_woken(c: Running) -> None:
    async with one(c) as desktop:
        await desktop.pause()
        assert (await desktop.stop()).state == "stopped"
        with pytest.raises(StateError):
            await desktop.windows()
        with pytest.raises(StateError):
            await desktop.resume()


@against()
async def test_a_fork_is_another_desktop_that_begins_as_this_one(c: Running) -> None:
    async with one(c) as desktop:
        made = await desktop.fork("copy", deadline_s=10)
        assert made.info.state == "running"
        assert made.info.session_id != desktop.info.session_id
        origin = c.host.named("copy").origin
        assert origin is not None
        assert origin["desktop"] == desktop.info.id
        async with asyncio.timeout(10):
            while c.host.named("mine").snapshots:  # the one taken for the fork goes once the fork has it
                await asyncio.sleep(0.01)


@against()
async def test_snapshots_are_kept_listed_returned_to_and_deleted(c: Running) -> None:
    async with one(c) as desktop:
        for name in ("one", "two"):
            assert (await desktop.snapshot(name))["name"] == name
        assert [kept["name"] for kept in await desktop.snapshots()] == ["two", "one"]
        assert (await desktop.rewind("one")).state == "running"
        with pytest.raises(NotFoundError):
            await desktop.rewind("three")
        assert (await desktop.refresh()).state == "running"
        await desktop.delete_snapshot("one")
        assert [kept["name"] for kept in await desktop.snapshots()] == ["two"]
        with pytest.raises(OrielError, match="begin with fork-"):
            await desktop.snapshot("fork-1")


@against()
async def test_a_template_is_made_listed_and_deleted(c: Running) -> None:
    async with c.sdk() as oriel:
        said: list[str] = []
        made = await oriel.templates.build(runtime="qemu", on_progress=said.append)
        assert (made["runtime"], made["vcpus"], said[0]) == ("qemu", 2, "machine: 0.1 s")
        await oriel.templates.delete(made["id"])
        assert await oriel.templates.list() == []
        with pytest.raises(NotFoundError):
            await oriel.templates.delete(made["id"])


@against()
async def test_a_controller_that_was_killed_finds_what_is_paused(c: Running) -> None:
    async with one(c) as desktop:
        await desktop.pause()
        await c.stop()
        await c.start()
    async with c.sdk() as oriel:
        again = await oriel.desktops.get("mine")
        assert again.info.state == "paused"
        assert (await again.resume()).state == "running"
