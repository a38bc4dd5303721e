"""The whole of it with the golden image: a real desktop in a real container under a real hostd."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from oriel.host.layout import Home
from oriel.model import wire
from tests.integration.hosts import hosted
from tests.integration.keepers import Keeper, new_spec
from tests.integration.test_hostd_verbs import until_kept
from tests.integration.test_keeper_life import home, run
from tests.inventory import Inventory

__all__ = ["home"]  # the fixture

pytestmark = pytest.mark.container

REAL_HOSTD = ("-P", "-m", "oriel.hostd")
NOTE = "/home/user/note"


async def sh(keeper: Keeper, script: str) -> str:
    """Standard output of a shell command in the desktop; its failure fails the test."""
    agent = await keeper.stream("agent")
    try:
        await wire.write_line(agent.writer, {"verb": "exec", "args": {"argv": ["sh", "-c", script]}})
        answer = await wire.read_line(agent.reader)
        assert answer is not None
        assert answer["ok"], answer
        said = {1: b"", 2: b""}
        while (frame := await wire.read_frame(agent.reader)) is not None:
            channel, payload = frame
            if channel == 3:
                assert json.loads(payload)["exit_code"] == 0, said
                return said[1].decode()
            said[channel] += payload
    finally:
        await wire.close(agent.writer)
    raise AssertionError("the command did not say how it ended")


async def first_bytes_of_the_screen(keeper: Keeper) -> bytes:
    vnc = await keeper.stream("vnc")
    try:
        return await vnc.reader.readexactly(12)
    finally:
        await wire.close(vnc.writer)


def test_a_desktop_lives_through_everything_and_leaves_nothing(home: Home, golden_image: Path) -> None:
    async def scenario() -> None:
        real = Home(home.root, golden_image.parent)
        async with hosted(real, REAL_HOSTD) as host:
            assert (await host.ask("hello", wait_s=120))["runtimes"]["container"]["works"]
            keeper = await host.create(new_spec(image=golden_image.name, name="lab", session_id="s-7"))
            timings = (await keeper.ask("start", deadline_s=90))["timings"]
            print(json.dumps(timings))
            assert await first_bytes_of_the_screen(keeper) == b"RFB 003.008\n"
            assert await sh(keeper, "hostname; grep SESSION_ID /etc/environment") == "lab\nSESSION_ID=s-7\n"
            machine_id = await sh(keeper, "cat /etc/machine-id")
            await sh(keeper, f"echo precious > {NOTE}; sync")

            # Stopped and started: the file is there, the identity is the same.
            began = time.monotonic()
            await keeper.ask("stop", deadline_s=60)
            print(f"stopped in {time.monotonic() - began:.2f} s")
            assert (await keeper.ask("hello"))["state"] == "stopped"
            assert all(
                line.startswith(("slots", "processes")) for line in Inventory.take().of(keeper.spec.id)
            )
            await keeper.ask("start", deadline_s=90)
            assert await sh(keeper, f"cat {NOTE} /etc/machine-id") == f"precious\n{machine_id}"

            # The machine killed: told at once, started again, the file is there.
            await sh(keeper, f"echo more >> {NOTE}; sync")
            told = await keeper.ask("inspect")
            os.kill(told["machine"]["pid"], signal.SIGKILL)
            began = time.monotonic()
            await keeper.until_event("state.failed", after=told["seq"], deadline_s=10)
            print(f"its death was told in {time.monotonic() - began:.2f} s")
            await keeper.ask("start", deadline_s=90)
            assert await sh(keeper, f"cat {NOTE}") == "precious\nmore\n"

            # The keeper killed: the machine does not notice, and the next keeper serves it.
            uptime = await sh(keeper, "echo $$ > /tmp/witness; cat /proc/sys/kernel/random/boot_id")
            told, pid = await keeper.ask("inspect"), (await keeper.ask("hello"))["pid"]
            os.kill(pid, signal.SIGKILL)
            await until_kept(host, keeper, other_than=pid)
            after = await keeper.ask("inspect")
            assert (after["state"], after["machine"]) == ("running", told["machine"])
            assert await sh(keeper, "test -s /tmp/witness; cat /proc/sys/kernel/random/boot_id") == uptime
            assert await first_bytes_of_the_screen(keeper) == b"RFB 003.008\n"
            status = Path(f"/proc/{(await keeper.ask('hello'))['pid']}/status").read_text()
            print(next(line for line in status.splitlines() if line.startswith("VmRSS")))

            await host.ask("remove", id=keeper.spec.id)
            assert Inventory.take().of(keeper.spec.id) == []
            assert not keeper.paths.root.exists()

    run(scenario, deadline_s=400)
