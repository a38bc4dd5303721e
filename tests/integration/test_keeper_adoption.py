"""Whoever dies: a killed keeper's successor takes over what lives and clears away what is half-made."""

from __future__ import annotations

import os
import re
import signal

import pytest

from oriel.host.layout import Home
from oriel.host.process import ProcessId
from oriel.model import wire
from tests.integration.hosts import until_gone
from tests.integration.keepers import Keeper, kept, new_spec
from tests.integration.test_keeper_life import held, home, run

__all__ = ["home"]  # the fixture


async def crash_at(keeper: Keeper, kind: str, verb: str, **args: float) -> None:
    """Ask for `verb` and kill -9 the keeper as soon as its journal says `kind`."""
    stream = await keeper.stream("events", after=(await keeper.ask("hello"))["seq"])
    _, writer = await wire.unix(keeper.paths.keeper_socket)()
    await wire.write_line(writer, {"verb": verb, "args": args})
    while (line := await wire.read_line(stream.reader)) is not None and line["kind"] != kind:
        pass
    keeper.kill()
    await wire.close(writer)
    await wire.close(stream.writer)


def test_a_running_machine_is_adopted_with_its_way_out_closed(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("configure_egress", mode="direct")
            await keeper.ask("start", deadline_s=30)
            before = await keeper.ask("inspect")
            assert before["egress"]["mode"] == "direct"
            keeper.kill()
            await keeper.launch()
            after = await keeper.ask("inspect")
            assert (after["state"], after["machine"]) == ("running", before["machine"])
            assert after["egress"]["mode"] == "none"
            assert keeper.kinds()[before["seq"] : before["seq"] + 3] == [
                "keeper.started", "gateway.started", "keeper.adopted",
            ]  # fmt: skip
            await keeper.ask("configure_egress", mode="direct")
            assert (await keeper.ask("inspect"))["egress"]["mode"] == "direct"
            vnc = await keeper.stream("vnc")
            assert await vnc.reader.readexactly(12) == b"RFB 003.008\n"
            await wire.close(vnc.writer)
            # It is still watched, stopped and started as before.
            await keeper.ask("stop", deadline_s=10)
            assert held(keeper) == []
            await keeper.ask("start", deadline_s=30)

    run(scenario)


def test_sigterm_leaves_the_machine_to_the_next_keeper(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            pid = (await keeper.ask("inspect"))["machine"]["pid"]
            assert keeper.process is not None
            keeper.process.terminate()
            assert await keeper.gone() == 0
            assert not keeper.paths.keeper_socket.exists()
            assert ProcessId.of(pid) is not None
            await keeper.launch()
            assert (await keeper.ask("inspect"))["machine"]["pid"] == pid

    run(scenario)


def test_a_machine_that_ended_meanwhile_is_reported(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            pid = (await keeper.ask("inspect"))["machine"]["pid"]
            keeper.kill()
            os.kill(pid, signal.SIGKILL)
            await until_gone(pid)
            await keeper.launch()
            told = await keeper.ask("inspect")
            assert (told["state"], told["error"]["code"]) == ("failed", "machine_exited")
            assert "while no keeper watched" in told["error"]["message"]
            assert held(keeper) == []
            await keeper.ask("start", deadline_s=30)

    run(scenario)


STEPS = ["link", "disk", "gateway", "machine", "agent", "identity", "windows"]


@pytest.mark.parametrize(
    "point", ["state.starting", *(f"begin.{s}" for s in STEPS), *(f"step.{s}" for s in STEPS[:-1])]
)
def test_a_start_that_was_killed_anywhere_is_undone(home: Home, point: str) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec("unpainted")) as keeper:
            await crash_at(keeper, point, "start", deadline_s=30)
            await keeper.launch()
            told = await keeper.ask("inspect")
            assert (told["state"], told["error"]["code"]) == ("failed", "interrupted")
            assert held(keeper) == []

    run(scenario)


def test_a_stop_that_was_killed_is_finished(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec("stubborn")) as keeper:
            await keeper.ask("start", deadline_s=30)
            await crash_at(keeper, "state.stopping", "stop", deadline_s=30)
            await keeper.launch()
            assert (await keeper.ask("hello"))["state"] == "stopped"
            assert held(keeper) == []

    run(scenario)


def test_a_delete_that_was_killed_is_finished(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            await crash_at(keeper, "state.deleting", "delete")
            await keeper.launch()
            assert await keeper.gone() == 0
            assert keeper.kinds()[-1] == "desktop.gone"
            assert held(keeper) == []

    run(scenario)


def test_after_a_restart_of_the_host_a_running_desktop_is_stopped(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            pid = (await keeper.ask("inspect"))["machine"]["pid"]
            keeper.kill()
            os.kill(pid, signal.SIGKILL)
            await until_gone(pid)
            # The journal of a host that was up before: all that tells it from now is its boot id.
            text = re.sub(r'"boot_id":"[^"]+"', '"boot_id":"another-boot"', keeper.paths.journal.read_text())
            keeper.paths.journal.write_text(text)
            await keeper.launch()
            assert (await keeper.ask("hello"))["state"] == "stopped"
            assert keeper.events()[-1].data["reason"] == "the host restarted"
            assert held(keeper) == []
            await keeper.ask("start", deadline_s=30)

    run(scenario)


def test_a_desktop_never_has_two_keepers(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            second = Keeper(home, keeper.spec)
            with pytest.raises(AssertionError, match="already kept by another process"):
                await second.launch()
            assert (await keeper.ask("inspect"))["state"] == "running"

    run(scenario)
