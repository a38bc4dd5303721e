"""A keeper that is killed in the midst of a pause, a resume, a snapshot or a rewind: its successor brings the
desktop to rest, with its memory if that is anywhere, and leaves nothing half made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from oriel.host.layout import Home
from oriel.host.process import ProcessId, wait_gone
from oriel.keeper.moments import known
from oriel.model import wire
from oriel.model.errors import OrielError
from oriel.model.spec import Runtime
from tests.integration.fakes.keeping import TOKEN
from tests.integration.keepers import Keeper, kept, new_spec
from tests.integration.test_keeper_life import home, run

__all__ = ["home"]  # the fixture

KEEPER = ("-m", "tests.integration.fakes.keeping_keeper")


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[tuple[Keeper, str]]:
    """A desktop that runs, and the token in its memory."""
    async with kept(home, new_spec(runtime=Runtime.CONTAINER), KEEPER) as keeper:
        await keeper.ask("start", deadline_s=50)
        try:
            yield keeper, token_of(keeper)
        finally:
            for hold in keeper.paths.root.glob("hold.*"):
                hold.unlink()


def token_of(keeper: Keeper) -> str:
    return (keeper.paths.machine / TOKEN).read_text()


async def killed_during(keeper: Keeper, work: str, verb: str, **args: object) -> None:
    """Ask for `verb`; once it has come to `work`, kill the keeper, and start its successor."""
    hold, there = keeper.paths.root / f"hold.{work}", keeper.paths.root / f"at.{work}"
    hold.touch()
    _, writer = await wire.unix(keeper.paths.keeper_socket)()
    await wire.write_line(writer, {"verb": verb, "args": args})
    while not there.exists():
        await asyncio.sleep(0.01)
    keeper.kill()
    hold.unlink()
    await wire.close(writer)
    await keeper.launch()


async def state_of(keeper: Keeper) -> str:
    return str((await keeper.ask("inspect"))["state"])


async def moves(keeper: Keeper) -> None:
    """Its machine runs: the guest answers through the agent's own verb."""
    stream = await keeper.stream("vnc")
    assert await stream.reader.readexactly(12) == b"RFB 003.008\n"
    await wire.close(stream.writer)


def whole(keeper: Keeper) -> None:
    """Nothing half made is left, and what is there can be read."""
    for place in (keeper.paths.root, keeper.paths.snapshots):
        entries = [entry.name for entry in place.iterdir()] if place.exists() else []
        assert not [name for name in entries if name.endswith((".partial", ".doomed"))], entries
    if keeper.paths.paused.exists():
        assert known(keeper.paths.paused) is not None


def test_killed_while_it_saves_the_machine_runs_on(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await killed_during(keeper, "save", "pause")
            assert await state_of(keeper) == "running"
            whole(keeper)
            assert token_of(keeper) == token
            await moves(keeper)
            await keeper.ask("pause")
            await keeper.ask("resume", deadline_s=50)
            assert token_of(keeper) == token

    run(scenario)


def test_a_machine_that_ends_while_it_is_saved_is_told_and_nothing_is_left(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, _):
            pid = (await keeper.ask("inspect"))["machine"]["pid"]
            hold, there = keeper.paths.root / "hold.save", keeper.paths.root / "at.save"
            hold.touch()
            pausing = asyncio.create_task(keeper.ask("pause"))
            while not there.exists():
                await asyncio.sleep(0.01)
            machine = ProcessId.of(pid)
            assert machine is not None
            assert machine.signal(signal.SIGKILL)
            await wait_gone(machine)
            hold.unlink()
            with pytest.raises(OrielError):
                await pausing
            failed = await keeper.until_event("state.failed")
            assert failed.data["error"]["code"] == "machine_exited"
            await keeper.ask("start", deadline_s=50)  # at once: it waits for the clean-up
            whole(keeper)
            await moves(keeper)

    run(scenario)


def test_killed_after_it_has_saved_the_desktop_is_paused(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            pid = (await keeper.ask("inspect"))["machine"]["pid"]
            await killed_during(keeper, "kill", "pause")
            assert await state_of(keeper) == "paused"
            whole(keeper)
            assert ProcessId.of(pid) is None
            await keeper.ask("resume", deadline_s=50)
            assert token_of(keeper) == token
            await moves(keeper)

    run(scenario)


@pytest.mark.parametrize("work", ["restore", "before-going-on"])
def test_killed_before_the_guest_has_run_it_is_paused_still(home: Home, work: str) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await keeper.ask("pause")
            await killed_during(keeper, work, "resume", deadline_s=50)
            assert await state_of(keeper) == "paused"
            whole(keeper)
            await keeper.ask("resume", deadline_s=50)
            assert token_of(keeper) == token
            await moves(keeper)

    run(scenario)


def test_killed_once_the_guest_runs_it_is_running(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await keeper.ask("pause")
            await killed_during(keeper, "after-going-on", "resume", deadline_s=50)
            assert await state_of(keeper) == "running"
            whole(keeper)
            assert not keeper.paths.paused.exists()  # its memory has gone on: it is nobody's any more
            assert token_of(keeper) == token
            await moves(keeper)

    run(scenario)


def test_killed_during_a_snapshot_the_desktop_goes_on_and_there_is_none(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await keeper.ask("snapshot", name="first")
            await killed_during(keeper, "save", "snapshot", name="second")
            assert await state_of(keeper) == "running"
            whole(keeper)
            await moves(keeper)
            assert [one["name"] for one in (await keeper.ask("snapshots"))["snapshots"]] == ["first"]
            assert token_of(keeper) == token
            await keeper.ask("snapshot", name="second")

    run(scenario)


def test_killed_in_half_a_rewind_it_is_as_it_was_then(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await keeper.ask("snapshot", name="then")
            keeper.paths.disk_image.write_bytes(b"what came later")
            await killed_during(keeper, "kill", "rewind", name="then")
            assert await state_of(keeper) == "stopped"
            whole(keeper)
            await keeper.ask("start", deadline_s=50)
            assert token_of(keeper) == token
            assert b"later" not in keeper.paths.disk_image.read_bytes()
            await moves(keeper)

    run(scenario)


@pytest.mark.parametrize("damage", ["a file is missing", "a file was changed", "the memory was written to"])
def test_a_damaged_template_is_left_for_a_boot_and_goes(home: Home, damage: str) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec(runtime=Runtime.CONTAINER), KEEPER) as keeper:
            made = await keeper.ask("make_template", deadline_s=50)
        template = home.template(made["template"])
        if damage == "a file is missing":
            (template / "pages").unlink()
        elif damage == "a file was changed":
            (template / "devices").write_bytes(b"another token")
        else:
            later = (template / "memory").stat().st_mtime + 2
            os.utime(template / "memory", (later, later))
        async with running(home) as (keeper, _):
            assert "template.unusable" in keeper.kinds()
            assert not template.exists()

    run(scenario)


def test_a_paused_one_whose_memory_was_changed_boots_from_its_disk(home: Home) -> None:
    async def scenario() -> None:
        async with running(home) as (keeper, token):
            await keeper.ask("pause")
            (keeper.paths.paused / "devices").write_bytes(b"another token")
            await keeper.ask("resume", deadline_s=50)
            assert "memory.unusable" in keeper.kinds()
            assert token_of(keeper) not in (token, "another token")
            await moves(keeper)

    run(scenario)


def test_a_warm_one_gets_its_name_and_is_gone_with_its_keeper(home: Home) -> None:
    async def scenario() -> None:
        spec = new_spec(runtime=Runtime.CONTAINER, name="spare", session_id="spare", spare=True)
        async with kept(home, spec, KEEPER) as keeper:
            await keeper.ask("warm", deadline_s=50)
            told = await keeper.ask("usage")
            assert told["memory_mib"] > 0
            assert set(told["by"]) == {"machine", "gateway", "keeper"}
            keeper.kill()
            await keeper.launch()
            hello = await keeper.ask("hello")
            assert (hello["state"], hello["warm"]) == ("creating", False)
            await keeper.ask("warm", deadline_s=50)
            token = token_of(keeper)
            with contextlib.suppress(OrielError):
                await keeper.ask("pause")  # nobody's desktop has nothing to put aside
            named = spec.to_json() | {"name": "mine", "session_id": "s-9", "spare": False}
            await keeper.ask("assign", spec=named)
            assert set((await keeper.ask("start", deadline_s=50))["timings"]) == {
                "identity", "windows", "total"
            }  # fmt: skip
            assert token_of(keeper) == token
            assert '"mine"' in (keeper.paths.machine / "identity.json").read_text()
            shutil.rmtree(home.templates, ignore_errors=True)

    run(scenario)
