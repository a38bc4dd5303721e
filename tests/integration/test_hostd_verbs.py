"""hostd: whoever is killed, every desktop is either there as before or gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from typing import Any

import pytest

from oriel.host.layout import Home, netns_path
from oriel.host.process import ProcessId
from oriel.hostd.removal import sweep_regularly
from oriel.model import wire
from oriel.model.errors import (
    InvalidError,
    LaunchError,
    NotFoundError,
    OrielError,
    StateError,
    UnavailableError,
)
from tests.integration.fakes.driver import FakeDriver
from tests.integration.hosts import Host, hosted, until_gone
from tests.integration.keepers import Keeper, new_spec
from tests.integration.test_keeper_life import home, run
from tests.inventory import Inventory

__all__ = ["home"]  # the fixture

STRANGER = "d-zzzzzzzzzz"


async def until_kept(host: Host, keeper: Keeper, *, other_than: int) -> int:
    """The pid of the desktop's next keeper, once it answers."""
    while True:
        with contextlib.suppress(UnavailableError):
            pid = (await keeper.ask("hello"))["pid"]
            if pid != other_than:
                return int(pid)
        await host.ask("hello")  # a turn of hostd's loop, which is what we wait for


async def until_removed(host: Host, desktop_id: str) -> None:
    """Until hostd has taken away the directory of a desktop that its keeper deleted."""
    while any(item["id"] == desktop_id for item in (await host.ask("list"))["desktops"]):
        await host.ask("hello")


def test_create_list_and_remove(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            root = keeper.paths.root
            assert root.stat().st_mode & 0o777 == 0o750
            assert json.loads(keeper.paths.spec.read_text()) == keeper.spec.to_json()
            listed = (await host.ask("list"))["desktops"]
            pid = (await keeper.ask("hello"))["pid"]
            assert listed == [
                {"id": keeper.spec.id, "alive": True, "state": "creating", "keeper_pid": pid,
                 "warm": False, "spare": False, "name": "one"}
            ]  # fmt: skip
            await keeper.ask("start", deadline_s=30)
            assert (await host.ask("list"))["desktops"][0]["state"] == "running"
            assert await host.ask("remove", id=keeper.spec.id) == {}
            assert not root.exists()
            assert Inventory.take().of(keeper.spec.id) == []
            assert (await host.ask("list"))["desktops"] == []
            assert await host.ask("remove", id=keeper.spec.id) == {}

    run(scenario)


def test_hello_tells_the_proven_runtimes_and_doctor_every_need(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            hello = await host.ask("hello")
            assert hello["runtimes"] == {
                "container": {
                    "works": True, "isolation": "container", "detail": "a fake: it always works", "hint": "",
                }
            }  # fmt: skip
            assert hello["home"] == str(home.root)
            checks = {check["id"]: check for check in (await host.ask("doctor"))["checks"]}
            assert {"root", "kernel", "account", "tool.nft", "disk", "namespaces", "nftables", "kvm"} <= set(
                checks
            )
            assert checks["runtime.container"]["ok"]
            assert all(check["ok"] for check in checks.values() if check["fatal"]), checks
            assert all(check["hint"] for check in checks.values() if not check["ok"])

    run(scenario)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"id": "../../etc"}, InvalidError, "id: must be d-"),
        ({"memory_mib": 1, "vcpus": 0}, InvalidError, "vcpus: .*; memory_mib: "),
        ({"command": "rm -rf /"}, InvalidError, "command: unknown field"),
        ({"image": "absent@000000000000"}, NotFoundError, "there is no image absent"),
    ],
)
def test_a_bad_create_makes_nothing(
    home: Home, changes: dict[str, Any], error: type[OrielError], says: str
) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            home.image("well@000000000000").mkdir(parents=True)
            with pytest.raises(error, match=says):
                await host.ask("create", spec=new_spec().to_json() | changes)
            assert list(home.desktops.iterdir()) == []

    run(scenario)


def test_an_id_is_taken_once(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            with pytest.raises(StateError, match="already a desktop"):
                await host.ask("create", spec=keeper.spec.to_json())
            assert (await keeper.ask("hello"))["state"] == "creating"

    run(scenario)


def test_a_create_whose_keeper_dies_leaves_nothing(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home, ("-m", "tests.integration.fakes.dying")) as host:
            spec = new_spec()
            with pytest.raises(LaunchError, match="ended before it was ready\nout of luck"):
                await host.create(spec)
            assert list(home.desktops.iterdir()) == []
            assert Inventory.take().of(spec.id) == []

    run(scenario)


def test_a_killed_keeper_is_brought_back_and_its_machine_lives_on(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            machine = (await keeper.ask("inspect"))["machine"]
            pid = (await keeper.ask("hello"))["pid"]
            for _ in range(2):
                os.kill(pid, signal.SIGKILL)
                pid = await until_kept(host, keeper, other_than=pid)
                told = await keeper.ask("inspect")
                assert (told["state"], told["machine"]) == ("running", machine)
            assert keeper.kinds().count("keeper.adopted") == 2

    run(scenario)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_keepers_and_streams_outlive_hostd(home: Home, how: str) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            before = (await host.ask("list"))["desktops"]
            vnc = await keeper.stream("vnc")
            assert await vnc.reader.readexactly(12) == b"RFB 003.008\n"
            if how == "kill":
                host.kill()
            else:
                assert await host.terminate() == 0
            vnc.writer.write(b"still there")
            assert await vnc.reader.readexactly(11) == b"still there"
            await host.launch()
            assert (await host.ask("list"))["desktops"] == before
            vnc.writer.write(b"and after")
            assert await vnc.reader.readexactly(9) == b"and after"
            await wire.close(vnc.writer)
            # A keeper that the new hostd did not start is watched all the same.
            os.kill(before[0]["keeper_pid"], signal.SIGKILL)
            await until_kept(host, keeper, other_than=before[0]["keeper_pid"])

    run(scenario)


def test_what_died_together_with_hostd_is_brought_back(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            pid = (await keeper.ask("hello"))["pid"]
            machine = (await keeper.ask("inspect"))["machine"]
            host.kill()
            os.kill(pid, signal.SIGKILL)
            await until_gone(pid)
            await host.launch()
            await until_kept(host, keeper, other_than=pid)
            assert (await keeper.ask("inspect"))["machine"] == machine

    run(scenario)


def test_a_desktop_deleted_by_its_keeper_loses_its_directory(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            await keeper.ask("delete")
            await until_removed(host, keeper.spec.id)
            assert not keeper.paths.root.exists()
            assert Inventory.take().of(keeper.spec.id) == []

    run(scenario)


def test_a_desktop_with_a_hung_keeper_is_removed(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            machine = (await keeper.ask("inspect"))["machine"]["pid"]
            os.kill((await keeper.ask("hello"))["pid"], signal.SIGSTOP)
            listed = (await host.ask("list"))["desktops"][0]
            assert (listed["alive"], listed["state"]) == (False, "running")
            await host.ask("remove", id=keeper.spec.id)
            assert ProcessId.of(machine) is None
            assert Inventory.take().of(keeper.spec.id) == []

    run(scenario)


def test_a_desktop_whose_spec_is_lost_is_removed_by_what_the_kernel_knows(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            machine = (await keeper.ask("inspect"))["machine"]["pid"]
            keeper.paths.spec.write_text("{")
            os.kill((await keeper.ask("hello"))["pid"], signal.SIGKILL)
            await host.ask("remove", id=keeper.spec.id)
            assert ProcessId.of(machine) is None
            assert not keeper.paths.root.exists()
            assert Inventory.take().of(keeper.spec.id) == []

    run(scenario)


@pytest.mark.parametrize(
    "value", ["../../etc", "d-AAAAAAAAAA", "d-aaaaaaaaaa/..", "", None, 7, ["d-aaaaaaaaaa"]]
)
def test_only_an_id_is_an_id(home: Home, value: object) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            with pytest.raises(InvalidError, match="id: must be d-"):
                await host.ask("remove", id=value)
            for verb in ("image_delete", "image_build"):
                with pytest.raises(InvalidError):
                    async for _ in lines_of(await host.stream(verb, id=value, recipe="../x")):
                        pass

    run(scenario)


async def lines_of(stream: wire.Stream) -> Any:
    """The lines of a build; its error is raised."""
    while (line := await wire.read_line(stream.reader)) is not None:
        if "error" in line:
            await wire.close(stream.writer)
            raise OrielError.from_wire(line["error"])
        yield line
    await wire.close(stream.writer)


def test_retire_stops_everything_and_keeps_the_disks(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            running, hung, idle = [await host.create(new_spec()) for _ in range(3)]
            for keeper in (running, hung):
                await keeper.ask("start", deadline_s=30)
                keeper.paths.disk_image.write_bytes(b"precious")
            os.kill((await hung.ask("hello"))["pid"], signal.SIGSTOP)
            answer = await host.ask("retire")
            assert (sorted(answer["retired"]), answer["problems"]) == (sorted(host.made), [])
            for keeper in (running, hung, idle):
                left = Inventory.take().of(keeper.spec.id)
                assert [line for line in left if not line.startswith("slots: ")] == []
                assert not keeper.paths.keeper_socket.exists()
            assert await host.terminate() == 0
            await host.launch()
            await until_kept(host, running, other_than=0)
            await until_kept(host, hung, other_than=0)
            states = [(await keeper.ask("hello"))["state"] for keeper in (running, hung)]
            assert states == ["stopped", "failed"]
            for keeper in (running, hung):
                assert keeper.paths.disk_image.read_bytes() == b"precious"
                await keeper.ask("start", deadline_s=30)

    run(scenario)


def test_sweep_takes_what_is_provably_ours_and_reports_the_rest(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            await keeper.ask("start", deadline_s=30)
            # A desktop of ours whose directory someone removed, with its namespace and slot still there.
            lost = await host.create(new_spec())
            await lost.ask("start", deadline_s=30)
            pid = (await lost.ask("hello"))["pid"]
            host.kill()
            os.kill(pid, signal.SIGKILL)
            shutil.rmtree(lost.paths.root)
            # A directory that never became a desktop, and a namespace nobody answers for.
            (home.desktops / STRANGER).mkdir()
            stray = netns_path("d-yyyyyyyyyy").name
            subprocess.run(["ip", "netns", "add", stray], check=True)
            try:
                await host.launch()
                assert Inventory.take().of(lost.spec.id) == []
                assert not (home.desktops / STRANGER).exists()
                (home.desktops / STRANGER).mkdir()
                swept = await host.ask("sweep")
                assert swept["removed"] == [STRANGER]
                assert any(stray in problem for problem in swept["problems"])
                assert (await keeper.ask("inspect"))["state"] == "running"
            finally:
                subprocess.run(["ip", "netns", "delete", stray], check=True)

    run(scenario)


def test_an_orphan_is_swept_once_it_has_been_one_for_a_while(home: Home) -> None:
    async def scenario() -> None:
        home.desktops.mkdir(parents=True)
        orphan, begun = home.desktops / STRANGER, home.desktops / "d-wwwwwwwwww"
        for directory in (orphan, begun):
            directory.mkdir()
        looks: list[str] = []

        def in_creation(desktop_id: str) -> bool:
            looks.append(desktop_id)
            return desktop_id == begun.name

        async with asyncio.TaskGroup() as group:
            sweeping = group.create_task(
                sweep_regularly(home, in_creation, lambda *_: FakeDriver(), group, every_s=0.02, grace_s=0.3)
            )
            while orphan.exists():
                await asyncio.sleep(0.01)
            seen = looks.count(STRANGER)
            while looks.count(begun.name) < 2 * seen:
                await asyncio.sleep(0.01)
            sweeping.cancel()
        assert seen >= 2, "at the first sight it may just be made"
        assert begun.exists()
        shutil.rmtree(home.root)

    run(scenario)


def test_keepers_are_renewed_and_their_machines_run_on(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            runs, idle = await host.create(new_spec()), await host.create(new_spec())
            await runs.ask("start", deadline_s=30)
            before = [(await keeper.ask("hello"))["pid"] for keeper in (runs, idle)]
            machine = (await runs.ask("inspect"))["machine"]["pid"]
            told = await host.ask("renew")
            assert (sorted(told["renewed"]), told["problems"]) == (sorted(host.made), [])
            after = [(await keeper.ask("hello"))["pid"] for keeper in (runs, idle)]
            assert not set(after) & set(before)
            now = await runs.ask("inspect")
            assert (now["state"], now["machine"]["pid"]) == ("running", machine)
            os.kill(after[0], signal.SIGKILL)
            await until_kept(host, runs, other_than=after[0])

    run(scenario)


def test_images_are_listed_and_not_deleted_while_in_use(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            for name, created in (
                ("default@00000000000a", "2026-01-01"),
                ("default@00000000000b", "2026-02-01"),
            ):
                home.image(name).mkdir(parents=True)
                manifest = {"created_at": f"{created}T00:00:00Z"}
                (home.image(name) / "manifest.json").write_text(json.dumps(manifest))
            keeper = await host.create(new_spec("default", image="default@00000000000a"))
            images = (await host.ask("images"))["images"]
            assert [(image["version"], image["default"]) for image in images] == [
                ("00000000000b", True), ("00000000000a", False),
            ]  # fmt: skip
            assert images[1]["in_use_by"] == [keeper.spec.id]
            with pytest.raises(StateError, match=f"used by {keeper.spec.id}"):
                await host.ask("image_delete", id="default@00000000000a")
            await host.ask("image_delete", id="default@00000000000b")
            assert [image["version"] for image in (await host.ask("images"))["images"]] == ["00000000000a"]
            with pytest.raises(NotFoundError):
                await host.ask("image_delete", id="default@00000000000b")

    run(scenario)


def test_a_home_has_one_hostd(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home):
            with pytest.raises(AssertionError, match="already kept by another process"):
                await Host(home).launch()

    run(scenario)
