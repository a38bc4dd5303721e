"""A machine's memory and devices on disk and back, on the real QEMU: what ran goes on, as often as wanted."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from oriel.host.disk import copy_disk
from oriel.machine.driver import Halting, Moment, Restoring, Saving
from tests.contract.machines import Place
from tests.contract.test_boot import Guest, booted

pytestmark = pytest.mark.emulated

# A program whose state is in memory alone: a counter, and a random number drawn before the moment.
COUNTER = r"""
cat >/run/counter.sh <<'END'
secret=$(od -An -tx8 -N8 /dev/urandom) i=0
while :; do
  i=$((i + 1))
  echo $secret $i >/run/counter.new
  mv /run/counter.new /run/counter
  sleep 0.2
done
END
nohup setsid sh /run/counter.sh >/dev/null 2>&1 &
until [ -s /run/counter ]; do sleep 0.1; done
echo one >/home/user/kept
sync
"""


@pytest.fixture
def place(places: Callable[[str], Iterator[Place]]) -> Iterator[Place]:
    yield from places("qemu")


@asynccontextmanager
async def restored(place: Place, moment: Moment) -> AsyncIterator[Guest]:
    """The moment, running again from its own disk; released at the end."""
    driver = place.driver
    assert isinstance(driver, Restoring)
    async with place.gateway() as (inside, _):
        await copy_disk(moment.disk, place.spec.disk)
        machine = await driver.restore(place.spec, moment)
        assert isinstance(machine, Halting)
        assert await machine.halted()
        try:
            await machine.go_on()
            yield Guest(machine, inside)
        finally:
            await machine.kill()
            await place.driver.release(place.spec)


async def keep(place: Place, guest: Guest, directory: Path) -> Moment:
    """Halt and save; the machine stays halted."""
    machine = guest.machine
    assert isinstance(machine, Saving)
    directory.mkdir()
    moment = Moment(directory)
    await machine.halt()
    await machine.save(moment)
    await copy_disk(place.spec.disk, moment.disk)
    return moment


async def count(guest: Guest) -> tuple[str, int]:
    secret, number = (await guest.sh("cat /run/counter")).split()
    return secret, int(number)


def test_what_ran_goes_on_from_a_moment_as_often_as_wanted(place: Place) -> None:
    moments = place.spec.directory.parent  # links are made within one file system only

    async def scenario() -> None:
        async with place.linked():
            async with booted(place) as guest:
                await guest.sh(COUNTER)
                first = await keep(place, guest, moments / "first")
                # Halted, it can go on after it was saved, and what comes then belongs to no moment.
                await guest.machine.go_on()  # type: ignore[attr-defined]
                secret, before = await count(guest)
                await guest.sh("echo two >/home/user/kept; sync")
            assert place.left() == []

            async with restored(place, first) as guest:
                again, number = await count(guest)
                assert again == secret
                assert await guest.sh("cat /home/user/kept") == "one\n"
                await guest.sh("echo three >/home/user/kept; sync")
                second = await keep(place, guest, moments / "second")
            # Only what differs is written again, and what is shared is one file.
            assert second.base.stat().st_ino == first.memory.stat().st_ino
            assert second.memory.stat().st_blocks < first.memory.stat().st_blocks / 2

            shutil.rmtree(first.directory)  # nobody needs the first one's name any more
            for _ in range(2):
                async with restored(place, second) as guest:
                    assert (await count(guest))[0] == secret
                    assert await guest.sh("cat /home/user/kept") == "three\n"
                    await guest.sh("echo four >>/home/user/kept; sync")
                    os.kill(guest.machine.record["pid"], signal.SIGKILL)
            assert before > 0
            assert number > 0
        checked = subprocess.run(
            ["e2fsck", "-p", place.spec.disk], capture_output=True, check=False
        )  # a journal to replay is no damage
        assert checked.returncode in (0, 1), checked.stdout

    asyncio.run(scenario())
