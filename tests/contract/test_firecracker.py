"""Firecracker beyond the promises of every driver: it leaves nothing, stands still, is kept and restored.

What the keeper makes of it (pause, fork, rewind) is tested where the keeper is; here are the powers alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oriel.host import mounts, slots
from oriel.host.namespaces import NetnsSockets
from oriel.host.occupants import occupants
from oriel.machine.driver import Counting, Halting, Machine, Moment, Restoring, Saving
from oriel.machine.firecracker.calls import Call
from oriel.machine.firecracker.client import ask
from oriel.machine.firecracker.command import SOCKET
from oriel.machine.firecracker.driver import jail_of
from oriel.machine.firecracker.metrics import COUNTED, FAULTS, Totals
from oriel.model.errors import LaunchError, NoSpaceError
from oriel.model.spec import Rates
from tests.contract.machines import Place, make_place
from tests.contract.test_boot import Guest, booted
from tests.fakes.firecracker import GENERATION

MARK = "echo before > /dev/shm/mark && cat /proc/sys/kernel/random/boot_id"


# The real one makes, halts, keeps and restores machines also where KVM then never runs them.
APIS = ["firecracker-api", *(["firecracker-still"] if "ORIEL_FIRECRACKER_BIN" in os.environ else [])]


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from request.getfixturevalue("places")("firecracker-api")


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The fake, and the real one if there is one; no guest has to run."""
    yield from request.getfixturevalue("places")(request.param)


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from request.getfixturevalue("places")("firecracker")


@asynccontextmanager
async def beside(place: Place, directory: Path) -> AsyncIterator[Place]:
    """A place for a clone, linked, with a copy of the disk as it is now."""
    other = make_place(place.kind, place.spec.image.root.parent, directory)
    other.spec = replace(other.spec, image=place.spec.image)
    shutil.copyfile(place.spec.disk, other.spec.disk)
    try:
        async with other.linked():
            yield other
    finally:
        slots.release(directory, other.spec.desktop_id)


def unchanged(moment: Moment) -> tuple[bytes, int, int]:
    """What is the same as long as nobody has written to the moment's files."""
    status = moment.memory.stat()
    return moment.devices.read_bytes(), status.st_mtime_ns, status.st_blocks


def moment_in(place: Place, name: str) -> Moment:
    moment = Moment(place.spec.disk.parent / name)
    moment.directory.mkdir(mode=0o700)
    return moment


def test_it_halts_is_kept_and_restored_twice_at_once(api: Place) -> None:
    async def scenario() -> None:
        driver = api.driver
        assert isinstance(driver, Restoring)
        assert "firecracker 1.16.1" in await driver.engine(api.spec)
        async with api.linked():
            await driver.prepare_disk(api.spec)
            machine = await driver.start(api.spec)
            assert isinstance(machine, Saving)
            with pytest.raises(LaunchError, match=r"refused PUT /snapshot/create"):
                await machine.save(moment_in(api, "early"))
            for _ in range(2):
                await machine.halt()
            assert await machine.halted()
            moment = moment_in(api, "moment")
            await machine.save(moment)
            assert await machine.halted()
            await machine.go_on()
            assert not await machine.halted()
            before = unchanged(moment)

            home = api.spec.disk.parent.parent
            async with beside(api, home) as one, beside(api, home) as two:
                clones = await asyncio.gather(*(at.driver.restore(at.spec, moment) for at in (one, two)))
                for at, clone in zip((one, two), clones, strict=True):
                    assert isinstance(clone, Halting)
                    assert await clone.halted()
                    adopted = await at.driver.adopt(at.spec, clone.record)
                    assert adopted is not None
                    assert dict(adopted.record) == dict(clone.record)
                    await clone.go_on()
                    assert not await clone.halted()
                    await clone.kill()
            assert unchanged(moment) == before
            await machine.kill()

    asyncio.run(scenario())


def test_of_a_restored_machine_only_its_own_pages_are_kept_and_no_chain_grows(api: Place) -> None:
    """Written into its memory as a guest would; kept by an adopted machine, as after a keeper's death."""

    async def scenario() -> None:
        driver = api.driver
        assert isinstance(driver, Restoring)
        async with api.linked():
            await driver.prepare_disk(api.spec)
            machine = await driver.start(api.spec)
            assert isinstance(machine, Saving)
            await machine.halt()
            moment = moment_in(api, "first")
            await machine.save(moment)
            await machine.kill()
            whole = moment.memory.stat().st_ino
            for turn, place in enumerate((64 << 20, 700 << 20, (64 << 20) + 4096), start=2):
                restored = await driver.restore(api.spec, moment)
                for earlier in (64 << 20, 700 << 20)[: turn - 2]:
                    assert poked(restored, earlier) == b"own %d" % earlier
                poke(restored, place, b"own %d" % place)
                adopted = await driver.adopt(api.spec, restored.record)
                assert isinstance(adopted, Saving)
                last, moment = moment, moment_in(api, f"turn-{turn}")
                await adopted.save(moment)
                assert moment.base.stat().st_ino == whole
                assert moment.memory.stat().st_blocks * 512 < 32 << 20
                await restored.kill()
                shutil.rmtree(last.directory)
            moment.pages.write_bytes(b"torn")
            with pytest.raises(LaunchError, match=r"cannot go on from .* is damaged"):
                await driver.restore(api.spec, moment)
            assert api.left() == []

    asyncio.run(scenario())


def test_what_is_written_while_loading_stays(fake: Place) -> None:
    """The generation's number, by which a guest's kernel learns that it is another one."""

    async def scenario() -> None:
        driver = fake.driver
        assert isinstance(driver, Restoring)
        numbers = set()
        async with fake.linked():
            await driver.prepare_disk(fake.spec)
            machine = await driver.start(fake.spec)
            assert isinstance(machine, Saving)
            await machine.halt()
            moment = moment_in(fake, "first")
            await machine.save(moment)
            await machine.kill()
            for turn in range(3):
                machine = await driver.restore(fake.spec, moment)
                numbers.add(poked(machine, GENERATION)[:8])
                if turn:
                    assert poked(machine, GENERATION + 8) == b"beside"
                poke(machine, GENERATION + 8, b"beside")
                moment = moment_in(fake, f"turn-{turn}")
                assert isinstance(machine, Saving)
                await machine.save(moment)
                await machine.kill()
        assert len(numbers) == 3

    asyncio.run(scenario())


def poke(machine: Machine, offset: int, data: bytes) -> None:
    """Into the memory of its guest."""
    with Path(f"/proc/{machine.record['pid']}/mem").open("r+b", buffering=0) as memory:
        os.pwrite(memory.fileno(), data, _address(machine, offset))


def poked(machine: Machine, offset: int) -> bytes:
    with Path(f"/proc/{machine.record['pid']}/mem").open("rb", buffering=0) as memory:
        return os.pread(memory.fileno(), 64, _address(machine, offset)).partition(b"\0")[0]


def _address(machine: Machine, offset: int) -> int:
    (found,) = [
        address + offset - at for address, at, size in machine.record["memory"] if at <= offset < at + size
    ]
    return int(found)


def test_a_damaged_moment_or_one_of_another_version_is_refused_and_leaves_nothing(api: Place) -> None:
    async def scenario() -> None:
        async with api.linked():
            await api.driver.prepare_disk(api.spec)
            machine = await api.driver.start(api.spec)
            await machine.halt()
            moment = moment_in(api, "moment")
            await machine.save(moment)
            await machine.kill()
            good = moment.devices.read_bytes()
            moment.devices.chmod(0o600)
            for damaged in (b"", good[:20], good[: len(good) // 2], good.replace(b"1.16.1", b"1.15.1")):
                if damaged == good:  # the real one's form has no version to read
                    continue
                moment.devices.write_bytes(damaged)
                moment.devices.chmod(0o444)
                with pytest.raises(LaunchError, match="Failed to restore from snapshot"):
                    await api.driver.restore(api.spec, moment)
                assert api.left() == []
            moment.devices.unlink()
            with pytest.raises(Exception, match="is missing"):
                await api.driver.restore(api.spec, moment)
            assert api.left() == []

    asyncio.run(scenario())


def test_its_lines_have_every_counter_that_is_looked_at(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "firecracker-still" not in APIS:
        pytest.skip("ORIEL_FIRECRACKER_BIN is not set: what it counts was not looked at")
    lines: list[Mapping[str, Any]] = []
    monkeypatch.setattr(Totals, "add", lambda _self, told: lines.append(told))

    async def scenario(place: Place) -> None:
        async with place.linked():
            await place.driver.prepare_disk(place.spec)
            machine = await place.driver.start(place.spec)
            assert isinstance(machine, Counting)
            await machine.count(deadline_s=60)
            await machine.kill()

    for place in request.getfixturevalue("places")("firecracker-still"):
        asyncio.run(scenario(place))
    wanted = [name.partition(".") for name in (*FAULTS, *COUNTED)]
    assert not [f"{group}.{name}" for group, _, name in wanted if name not in lines[0][group]]


def test_limits_are_the_specs_also_of_one_that_is_restored(api: Place) -> None:
    """Those of its own, whatever the moment had."""

    async def limits_of(place: Place) -> tuple[Any, Any]:
        told = await ask(jail_of(place.spec).root, SOCKET, Call("GET", "/vm/config"), deadline_s=60)
        (disk,) = [drive for drive in told["drives"] if drive["drive_id"] == "disk"]
        return disk.get("rate_limiter"), told["network-interfaces"][0].get("tx_rate_limiter")

    async def scenario() -> None:
        async with api.linked():
            await api.driver.prepare_disk(api.spec)
            free = replace(api.spec, rates=Rates())
            limited = replace(api.spec, rates=Rates(disk_mib_s=3, network_mib_s=2))
            driver = api.driver
            assert isinstance(driver, Restoring)
            machine = await driver.start(free)
            assert await limits_of(api) == (None, None)
            assert isinstance(machine, Saving)
            await machine.halt()
            moment = moment_in(api, "moment")
            await machine.save(moment)
            await machine.kill()
            machine = await driver.restore(limited, moment)
            disk, link = await limits_of(api)
            assert (disk["bandwidth"]["size"], disk["ops"]) == (3 << 20, None)
            assert link["bandwidth"]["size"] == 2 << 20
            await machine.kill()

    asyncio.run(scenario())


def test_what_it_counts_is_told_as_totals(fake: Place) -> None:
    """A line tells what came since the one before. Without an answer the last known is told."""

    async def scenario() -> None:
        async with fake.linked():
            await fake.driver.prepare_disk(fake.spec)
            machine = await fake.driver.start(fake.spec)
            assert isinstance(machine, Counting)
            assert machine.counted["block.read_bytes"] == 0
            for times in (1, 2):
                assert (await machine.count(deadline_s=60))["block.read_bytes"] == 512 * times
            await machine.kill()
            assert (await machine.count(deadline_s=60))["block.read_bytes"] == 1024

    asyncio.run(scenario())


def test_ten_machines_leave_nothing_and_the_disk_is_roots_again(api: Place) -> None:
    async def scenario() -> None:
        driver, uid = api.driver, slots.process_uid(api.spec.slot)
        async with api.linked():
            spec = api.spec
            await driver.prepare_disk(spec)
            for _ in range(10):
                machine = await driver.start(spec)
                assert spec.disk.stat().st_uid == uid
                if api.kind == "firecracker-api":
                    assert (await machine.stop(deadline_s=10)).code == 0
                else:  # who does not run does not hear
                    assert (await machine.kill()).code == -signal.SIGKILL
                await driver.release(spec)
                assert api.left() == []
                assert occupants([], uid=uid) == []
                assert not spec.directory.exists()
                assert spec.disk.stat().st_uid == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("size=16m,nr_inodes=3", "no room for another file"),
        ("size=64k", r"it has \d+ KiB free and \d+ KiB are"),
    ],
)
def test_a_jail_on_a_full_disk_is_said(api: Place, options: str, why: str) -> None:
    """Full of files, or of bytes: the jailer would copy its program there."""

    async def scenario() -> None:
        full = api.spec.disk.parent / "full"
        full.mkdir()
        async with api.linked():
            await api.driver.prepare_disk(api.spec)
            mounts.mount("tmpfs", full, "tmpfs", options=options)
            try:
                with pytest.raises(NoSpaceError, match=rf"no room for the jail .*: .*{why}") as told:
                    await api.driver.start(replace(api.spec, directory=full / "machine"))
                assert "delete desktops" in told.value.hint
            finally:
                mounts.unmount(full)
            assert api.left() == []

    asyncio.run(scenario())


def test_a_desktop_is_cloned_twice_and_each_goes_its_own_way(real: Place) -> None:
    """Memory, files and boot stay those of the moment; a clone can be kept and restored as well."""

    async def scenario() -> None:
        home = real.spec.disk.parent.parent
        async with real.linked():
            async with booted(real) as guest:
                boot_id = (await guest.sh(MARK)).strip()
                await guest.sh("sync")
                await guest.machine.halt()
                moment = moment_in(real, "moment")
                await guest.machine.save(moment)
                kept = moment.memory.stat()
                print(f"memory: {kept.st_blocks * 512 >> 20} of {kept.st_size >> 20} MiB")
                await guest.machine.kill()
            async with beside(real, home) as one, beside(real, home) as two:
                clones = await asyncio.gather(*(at.driver.restore(at.spec, moment) for at in (one, two)))
                for at, clone in zip((one, two), clones, strict=True):
                    await clone.go_on()
                    await look(at, clone, boot_id, "before", then=at.spec.desktop_id)
                await look(one, clones[0], boot_id, one.spec.desktop_id, then="first")
                await look(two, clones[1], boot_id, two.spec.desktop_id, then="second")

                await clones[0].halt()
                again = moment_in(one, "again")
                await clones[0].save(again)
                await clones[0].kill()
                await one.driver.release(one.spec)
                machine = await one.driver.restore(one.spec, again)
                await machine.go_on()
                await look(one, machine, boot_id, "first", then="third")
                await machine.kill()
                await clones[1].kill()

    asyncio.run(scenario())


async def look(place: Place, machine: object, boot_id: str, mark: str, *, then: str) -> None:
    """The guest is the one that was booted, holds `mark` in its memory, and takes another."""
    inside = await NetnsSockets.open(place.spec.link.netns)
    try:
        guest = Guest(machine, inside)  # type: ignore[arg-type]
        assert (await guest.sh("cat /proc/sys/kernel/random/boot_id")).strip() == boot_id
        assert (await guest.sh("cat /dev/shm/mark")).strip() == mark
        assert (await guest.sh(f"echo {then} > /dev/shm/mark && sync && cat /dev/shm/mark")).strip() == then
    finally:
        inside.close()
