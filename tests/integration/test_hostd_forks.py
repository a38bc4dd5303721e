"""hostd killed while it copies a desktop for a fork: nothing of that is left, its origin is as it was, and
the same fork can be made again."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from oriel.host.layout import Home
from oriel.model.errors import OrielError
from oriel.model.spec import Runtime
from tests.integration.hosts import KEEPING_HOSTD, hosted
from tests.integration.keepers import new_spec
from tests.integration.test_keeper_life import home, run
from tests.integration.test_keeper_moments import moves, token_of
from tests.inventory import Inventory

__all__ = ["home"]  # the fixture

START_S = 50


async def taken(pipe: Path) -> int:
    """A pipe's writing end, once somebody reads it: who copies it waits from then on until this is closed."""
    while True:
        with contextlib.suppress(OSError):  # ENXIO: nobody yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        await asyncio.sleep(0.01)


async def let_go(pipe: Path) -> None:
    """Until nobody reads it any more."""
    while True:
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return
        await asyncio.sleep(0.01)


def test_a_fork_whose_hostd_is_killed_leaves_nothing_and_can_be_made_again(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home, KEEPING_HOSTD) as host:
            source = await host.create(new_spec(runtime=Runtime.CONTAINER))
            await source.ask("start", deadline_s=START_S)
            await source.ask("snapshot", name="then")
            disk = source.paths.snapshot("then") / "disk.img"
            kept = disk.with_name("kept")
            disk.rename(kept)
            os.mkfifo(disk)  # so that copying it takes as long as we like
            spec = new_spec(runtime=Runtime.CONTAINER)
            origin = {"desktop": source.spec.id, "snapshot": "then"}
            asked = asyncio.create_task(host.create(spec, origin=origin))
            writing = await taken(disk)
            try:
                assert home.desktop(spec.id).root.exists()
                host.kill()
                with contextlib.suppress(OrielError):
                    await asked
                await host.launch()
                assert not home.desktop(spec.id).root.exists()
            finally:
                os.close(writing)
            await let_go(disk)
            assert [one["id"] for one in (await host.ask("list"))["desktops"]] == [source.spec.id]
            assert Inventory.take().of(spec.id) == []
            assert (await source.ask("inspect"))["state"] == "running"
            await moves(source)

            disk.unlink()
            kept.rename(disk)
            fork = await host.create(spec, origin=origin)
            await fork.ask("start", deadline_s=START_S)
            assert token_of(fork) == token_of(source)
            await moves(fork)

    run(scenario)
