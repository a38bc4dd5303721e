"""The promises of oriel.machine.driver, over every runtime and over fakes that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.host import mounts
from oriel.host.process import ProcessId
from oriel.machine.fake import DyingDriver, FailingDriver, SlowDriver
from oriel.model.errors import LaunchError, NoSpaceError, OrielError
from tests.contract.machines import Place, make_place

SHORT_S = 1.0  # for a guest that has not come up: it is asked, and does not answer


def test_a_machine_runs_until_it_is_stopped(place: Place) -> None:
    async def scenario() -> None:
        async with place.linked():
            driver = place.driver
            await driver.prepare_disk(place.spec)
            machine = await driver.start(place.spec)
            process = ProcessId(machine.record["pid"], machine.record["started"])
            json.dumps(dict(machine.record))
            waiters = [asyncio.ensure_future(machine.wait()) for _ in range(3)]
            await asyncio.sleep(0)
            assert process.alive
            assert not any(waiter.done() for waiter in waiters)

            began = time.monotonic()
            ended = await machine.stop(deadline_s=SHORT_S)
            assert time.monotonic() - began < SHORT_S + 10
            assert not process.alive
            assert ended.detail
            assert await asyncio.gather(*waiters) == [ended] * 3
            assert await machine.stop(deadline_s=SHORT_S) == ended
            assert await machine.kill() == ended

            await driver.release(place.spec)
            await driver.release(place.spec)
            assert place.left() == []
            assert place.spec.disk.exists()
            assert not place.spec.directory.exists()

    asyncio.run(scenario())


def test_a_machine_outlives_its_starter_and_is_adopted(place: Place) -> None:
    async def scenario() -> None:
        async with place.linked():
            starter = place.starter()
            record = await asyncio.to_thread(_record, starter)
            assert starter.wait() == 0
            machine = await place.driver.adopt(place.spec, record)
            assert machine is not None
            assert dict(machine.record) == record
            process = ProcessId(record["pid"], record["started"])
            assert process.alive
            waiting = asyncio.ensure_future(machine.wait())
            ended = await machine.kill()
            assert ended.code is None
            assert await waiting == ended
            assert not process.alive
            await place.driver.release(place.spec)
            assert place.left() == []
            assert await place.driver.adopt(place.spec, record) is None

    asyncio.run(scenario())


def test_a_record_of_another_process_is_not_adopted(place: Place) -> None:
    async def scenario() -> None:
        ours = ProcessId.of(os.getpid())
        assert ours is not None
        records = [
            {"pid": ours.pid, "started": ours.started + 1},
            {"pid": ours.pid},
            {},
            {"pid": "x", "started": None},
        ]
        for record in records:
            assert await place.driver.adopt(place.spec, record) is None

    asyncio.run(scenario())


def test_a_killed_machine_is_noticed_and_starts_again(place: Place) -> None:
    async def scenario() -> None:
        async with place.linked():
            driver = place.driver
            await driver.prepare_disk(place.spec)
            for _ in range(2):
                machine = await driver.start(place.spec)
                os.kill(machine.record["pid"], signal.SIGKILL)
                async with asyncio.timeout(30):
                    ended = await machine.wait()
                assert ended.code == -signal.SIGKILL
                assert not await asyncio.to_thread(place.processes)
            await driver.release(place.spec)
            assert place.left() == []

    asyncio.run(scenario())


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.09, 0.14])
def test_kill_minus_nine_of_the_starter_leaves_nothing_that_release_does_not_find(
    real_place: Place, after_s: float
) -> None:
    async def scenario() -> None:
        async with real_place.linked():
            starter = real_place.starter()
            assert starter.stdout is not None
            assert await asyncio.to_thread(starter.stdout.readline) == b"starting\n"
            await asyncio.sleep(after_s)  # not a wait for anything: where the crash hits
            starter.kill()
            starter.wait()
            starter.stdout.close()
            await real_place.driver.release(real_place.spec)
            assert real_place.left() == []

    asyncio.run(scenario())


def test_a_start_cancelled_at_any_point_leaves_nothing(place: Place) -> None:
    async def scenario() -> None:
        async with place.linked():
            await place.driver.prepare_disk(place.spec)
            for after_s in (0.0, 0.01, 0.03, 0.06):  # not waits for anything: where the cancellation hits
                starting = asyncio.ensure_future(place.driver.start(place.spec))
                await asyncio.sleep(after_s)
                starting.cancel()
                await asyncio.wait([starting])
                if starting.cancelled():
                    assert place.left() == []
                else:  # it was done by then
                    await (await starting).kill()
                    await place.driver.release(place.spec)

    asyncio.run(scenario())


def test_a_failed_start_says_why_and_leaves_nothing(real_place: Place, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with real_place.linked():
            await real_place.driver.prepare_disk(real_place.spec)
            garbage = tmp_path / "garbage"
            garbage.write_bytes(os.urandom(1 << 16))
            garbage.chmod(0o644)
            image = real_place.spec.image
            broken = replace(image, root=garbage, kernel=garbage, elf_kernel=garbage)
            with pytest.raises(OrielError) as raised:
                await real_place.driver.start(replace(real_place.spec, image=broken))
            assert real_place.left() == []
            if isinstance(raised.value, LaunchError):
                assert {"qemu": "qemu-system-x86_64", "firecracker": "jailer"}[
                    real_place.kind
                ] in raised.value.message
            else:
                assert str(garbage) in raised.value.message

    asyncio.run(scenario())


def test_a_failing_program_is_reported_with_its_command_code_and_words(place_of_fakes: Place) -> None:
    with pytest.raises(LaunchError, match=r"(?s)exit code 1: .*\nno such machine"):
        asyncio.run(FailingDriver().start(place_of_fakes.spec))


def test_a_dying_machine_tells_how_it_ended(place_of_fakes: Place) -> None:
    async def scenario() -> None:
        driver = DyingDriver(0.1)
        machine = await driver.start(place_of_fakes.spec)
        async with asyncio.timeout(30):
            ended = await machine.wait()
        assert (ended.code, ended.detail) == (7, "the fake machine ended with 7")

    asyncio.run(scenario())


def test_a_slow_start_keeps_to_the_callers_deadline(place_of_fakes: Place) -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await SlowDriver(60).start(place_of_fakes.spec)
        assert place_of_fakes.left() == []

    asyncio.run(scenario())


def test_a_disk_is_made_once_whole_and_as_large_as_asked(real_place: Place) -> None:
    async def scenario() -> None:
        driver, spec = real_place.driver, real_place.spec
        await driver.prepare_disk(spec)
        assert spec.disk.stat().st_size == spec.disk_gib << 30
        assert spec.disk.stat().st_blocks * 512 < 256 << 20
        checked = subprocess.run(["e2fsck", "-f", "-n", spec.disk], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout
        before = spec.disk.stat()
        await driver.prepare_disk(spec)
        assert spec.disk.stat() == before
        assert [entry.name for entry in spec.disk.parent.iterdir()] == ["disk.img"]

    asyncio.run(scenario())


def test_a_full_host_is_said_and_leaves_no_disk(real_place: Place) -> None:
    async def scenario() -> None:
        full = real_place.spec.disk.parent / "full"
        full.mkdir()
        mounts.mount("tmpfs", full, "tmpfs", options="size=16m")
        try:
            spec = replace(real_place.spec, disk=full / "disk.img")
            with pytest.raises(NoSpaceError, match="GiB free"):
                await real_place.driver.prepare_disk(spec)
            assert list(full.iterdir()) == []
        finally:
            mounts.unmount(full)

    asyncio.run(scenario())


@pytest.fixture
def place_of_fakes(tmp_path: Path) -> Iterator[Place]:
    made = make_place("never-ready", Path("/nowhere"), tmp_path)
    made.spec.directory.mkdir()
    yield made
    from oriel.host import slots

    slots.release(tmp_path, made.spec.desktop_id)


def _record(starter: subprocess.Popen[bytes]) -> dict[str, int]:
    assert starter.stdout is not None
    with starter.stdout as said:
        lines = said.read().splitlines()
    return json.loads(lines[-1])
