"""The golden image on every runtime: the guest comes up, and what it synced outlives any end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from oriel.host.namespaces import NetnsSockets
from oriel.machine.driver import Machine
from oriel.model import wire
from oriel.model.link import AGENT_PORT, GUEST_ADDRESS
from tests.contract.machines import Place

BOOT_DEADLINE_S = 180  # emulated, on a busy machine
STOP_DEADLINE_S = 60
ANSWER_DEADLINE_S = 180  # the same, and just restored: every page comes from the file first


class Guest:
    """A booted machine and its agent."""

    def __init__(self, machine: Machine, inside: NetnsSockets) -> None:
        self.machine = machine
        self._inside = inside

    async def sh(self, script: str) -> str:
        """Run a script as root; its output."""
        call = {"argv": ["/bin/sh", "-c", script], "user": "root", "timeout_s": 60}
        stream = await wire.open_stream(self._connect, "exec", call, deadline_s=ANSWER_DEADLINE_S)
        output = b""
        while frame := await wire.read_frame(stream.reader):
            channel, payload = frame
            if channel in (1, 2):
                output += payload
        await wire.close(stream.writer)
        return output.decode()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._inside.connect(GUEST_ADDRESS, AGENT_PORT)


@asynccontextmanager
async def booted(place: Place) -> AsyncIterator[Guest]:
    """A machine whose agent has announced itself; released at the end."""
    async with place.gateway() as (inside, listeners):
        await place.driver.prepare_disk(place.spec)
        machine = await place.driver.start(place.spec)
        try:
            async with asyncio.timeout(BOOT_DEADLINE_S):
                announced, _ = await asyncio.get_running_loop().sock_accept(listeners.announce)
            announced.close()
            yield Guest(machine, inside)
        finally:
            await machine.kill()
            await place.driver.release(place.spec)


def test_synced_files_survive_kill_minus_nine_and_a_clean_stop(real_place: Place) -> None:
    async def scenario() -> None:
        place = real_place
        async with place.linked():
            async with booted(place) as guest:
                first_boot = await guest.sh("cat /proc/sys/kernel/random/boot_id")
                said = await guest.sh("echo precious > /home/user/kept && sync && stat -c %s /home/user/kept")
                assert said == "9\n"
                os.kill(guest.machine.record["pid"], signal.SIGKILL)
                async with asyncio.timeout(30):
                    assert (await guest.machine.wait()).code == -signal.SIGKILL
            assert place.left() == []

            async with booted(place) as guest:
                assert await guest.sh("cat /proc/sys/kernel/random/boot_id") != first_boot
                assert await guest.sh("cat /home/user/kept") == "precious\n"
                # Not synced: a clean stop has to write it.
                await guest.sh("echo more >> /home/user/kept; rm /etc/motd; echo changed > /etc/issue")
                began = time.monotonic()
                ended = await guest.machine.stop(deadline_s=STOP_DEADLINE_S)
                assert ended.code == 0, ended
                assert time.monotonic() - began < STOP_DEADLINE_S, "the guest did not listen"
            assert place.left() == []

        checked = subprocess.run(["e2fsck", "-f", "-n", place.spec.disk], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stdout
        assert read_back(place, "/upper/home/user/kept") == "precious\nmore\n"
        assert read_back(place, "/upper/etc/issue") == "changed\n"

    asyncio.run(scenario())


def test_a_guest_that_ends_by_itself_is_noticed(container_place: Place) -> None:
    async def scenario() -> None:
        async with container_place.linked(), booted(container_place) as guest:
            waiting = asyncio.ensure_future(guest.machine.wait())
            await guest.sh("systemctl --no-block poweroff")
            async with asyncio.timeout(20):
                ended = await waiting
            assert (ended.code, ended.detail) == (0, "the container powered off")

    asyncio.run(scenario())


def test_the_guest_sees_the_agreed_addresses_and_devices(real_place: Place) -> None:
    """Every desktop looks the same from inside, whatever it runs in."""

    async def scenario() -> None:
        async with real_place.linked(), booted(real_place) as guest:
            addresses = await guest.sh("ip -o address show scope global | awk '{print $3, $4}'")
            assert addresses == "inet 192.168.0.2/24\n"
            assert (
                await guest.sh("ip route show default | awk '{print $1, $2, $3}'")
                == "default via 192.168.0.1\n"
            )
            assert (
                await guest.sh("cat /sys/class/net/*/address | sort")
                == "00:00:00:00:00:00\n02:4f:52:00:00:02\n"
            )
            assert await guest.sh("findmnt -no FSTYPE /") == "overlay\n"
            size = int(await guest.sh("df -B1 --output=size / | tail -1"))
            assert 0.9 * (1 << 30) < size <= 1 << 30, "the disk was not grown to its quota"

    asyncio.run(scenario())


def read_back(place: Place, path: str) -> str:
    """A file on the desktop's disk, read without mounting it."""
    shown = subprocess.run(
        ["debugfs", "-R", f"cat {path}", place.spec.disk], capture_output=True, text=True, check=True
    )
    return shown.stdout
