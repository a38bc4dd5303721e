"""Virtual machines that begin at one moment: each is its own, and nothing of it is lost by moving in time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator

import pytest
from bench.instant import clock_off_ms
from bench.soak import run

from oriel.client import Oriel
from oriel.client.aio.client import AsyncOriel
from oriel.client.sync.desktop import Desktop
from oriel.client.verify.chrome import Chrome
from oriel.host.layout import Home
from tests.conftest import Server
from tests.inventory import Inventory

pytestmark = pytest.mark.emulated
DEADLINE_S = 400  # a boot in full emulation, beside whatever else this machine does
# Where programs get their random numbers from; each line one draw.
DRAWS = {
    "urandom": "head -c 32 /dev/urandom | base64",
    "getrandom": "python3 -c 'import os; print(os.getrandom(32).hex())'",
    "python": "python3 -c 'import secrets; print(secrets.token_hex(32))'",
    "node": "node -e 'console.log(crypto.randomBytes(32).toString(\"hex\"))'",
    "kernel uuid": "cat /proc/sys/kernel/random/uuid",
    "TLS key": "openssl ecparam -name prime256v1 -genkey -noout",
    "boot id": "cat /proc/sys/kernel/random/boot_id",
    "machine id": "cat /etc/machine-id",
    "host name": "hostname",
    "session id": ". /etc/environment; echo $SESSION_ID",
}
CLOCK_BEARABLE_MS = 100  # where an answer takes that long, on a busy host, it is not told more exactly
IN_PAGE = "Array.from(crypto.getRandomValues(new Uint8Array(32))).join()"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Oriel]:
    with Oriel(server.url, server.token) as made:
        yield made


@pytest.fixture(scope="module")
def pair(server: Server, client: Oriel) -> Iterator[tuple[Desktop, Desktop]]:
    """Two machines from one template, made at the same time."""
    template = client.templates.build(runtime="qemu")
    names = [f"twin-{secrets.token_hex(2)}" for _ in range(2)]
    made = [client.desktops.create(name, runtime="qemu", proxy="none", wait=False) for name in names]
    for desktop in made:
        desktop.wait_ready(deadline_s=DEADLINE_S)
    yield made[0], made[1]
    for desktop in made:
        desktop.delete()
        assert not Inventory.take().of(desktop.info.id)
    client.templates.delete(template["id"])


def shell(desktop: Desktop, script: str) -> str:
    result = desktop.exec(["bash", "-c", script], timeout_s=DEADLINE_S)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def test_they_began_at_the_template_with_both_windows_painted(pair: tuple[Desktop, Desktop]) -> None:
    for desktop in pair:
        assert "agent" in desktop.info.timings
        painted = {window["kind"] for window in desktop.windows() if window["mapped"] and window["painted"]}
        assert {"terminal", "browser"} <= painted
        uptime = float(shell(desktop, "cut -d' ' -f1 /proc/uptime"))
        assert uptime > desktop.info.timings["total"], "it has booted by itself"


@pytest.mark.parametrize("source", DRAWS)
def test_no_two_draw_the_same(pair: tuple[Desktop, Desktop], source: str) -> None:
    first, second = (shell(desktop, DRAWS[source]) for desktop in pair)
    assert first
    assert first != second


def test_no_two_pages_draw_the_same(server: Server, pair: tuple[Desktop, Desktop]) -> None:
    """In a page opened after, and in the page that was open in the template."""

    async def draws(name: str) -> list[str]:
        async with AsyncOriel(server.url, server.token) as client:
            socket = await (await client.desktops.get(name)).cdp()
            async with socket:
                chrome = Chrome(socket)
                await chrome.call("Target.createTarget", {"url": "about:blank"})
                asked = {"expression": IN_PAGE, "returnByValue": True}
                answers = [
                    await chrome.call("Runtime.evaluate", asked, session=session)
                    for session in await chrome.attach_pages()
                ]
                return [str(answer["result"]["value"]) for answer in answers]

    async def scenario() -> None:
        first, second = await asyncio.gather(*(draws(desktop.info.name) for desktop in pair))
        assert len(first) >= 2
        assert all(len(draw.split(",")) == 32 for draw in (*first, *second))
        assert not set(first) & set(second)

    asyncio.run(scenario())


def test_the_clock_is_right(client: Oriel, pair: tuple[Desktop, Desktop]) -> None:
    """Also after the guest stood still, for a pause or a snapshot; `bench.instant` tells how exactly."""
    desktop = pair[0]
    until_right(client, desktop)
    desktop.pause()
    desktop.resume()
    until_right(client, desktop)
    desktop.snapshot("moment")
    until_right(client, desktop)
    desktop.delete_snapshot("moment")


def until_right(client: Oriel, desktop: Desktop) -> None:
    """It is set right once the desktop runs, soon but not at once. Without that it stays off by as long as
    the desktop stood still, or as the news of the time took to reach it."""
    deadline = time.monotonic() + DEADLINE_S
    while (off_ms := asyncio.run(clock_off_ms(client, desktop))) > CLOCK_BEARABLE_MS:
        assert time.monotonic() < deadline, off_ms


def test_what_runs_goes_on_after_a_pause_and_any_request_wakes_it(pair: tuple[Desktop, Desktop]) -> None:
    desktop = pair[0]
    shell(
        desktop,
        "(i=0; while sleep 0.1; do i=$((i+1)); echo $i >> ~/count; done) >/dev/null 2>&1 & echo $! > ~/pid",
    )
    shell(desktop, "until [ -s ~/count ]; do sleep 0.1; done")
    assert desktop.pause().state == "paused"
    kept = int(shell(desktop, "kill -0 $(cat ~/pid) && tail -n 1 ~/count"))  # this wakes it
    assert desktop.refresh().state == "running"
    shell(desktop, f"until [ $(tail -n 1 ~/count) -gt {kept + 3} ]; do sleep 0.1; done; kill $(cat ~/pid)")
    counted = shell(desktop, "cat ~/count").split()
    assert counted == [str(number + 1) for number in range(len(counted))]


@pytest.mark.usefixtures("pair")
def test_nothing_that_was_written_is_lost_by_pausing(server: Server, client: Oriel) -> None:
    """The short version of bench.soak."""
    done = run(client, Home(server.home), "qemu", cycles=3, kills=0, seed=7)
    assert done["faults"] == []
    assert done["written"] > 0


def test_a_rewind_returns_and_a_fork_goes_its_own_way(client: Oriel, pair: tuple[Desktop, Desktop]) -> None:
    desktop = pair[1]
    shell(desktop, "echo before > ~/story; sync")
    desktop.snapshot("before")
    shell(desktop, "echo after > ~/story; sync")
    fork = desktop.fork(f"fork-{secrets.token_hex(2)}", deadline_s=DEADLINE_S)
    try:
        assert shell(fork, "cat ~/story") == "after"
        for source in ("session id", "machine id", "host name", "urandom"):
            assert shell(fork, DRAWS[source]) != shell(desktop, DRAWS[source])
        desktop.rewind("before")
        assert shell(desktop, "cat ~/story") == "before"
        assert shell(fork, "cat ~/story") == "after"
    finally:
        fork.delete()
    assert [item["name"] for item in desktop.snapshots()] == ["before"]
    desktop.delete_snapshot("before")
    assert desktop.snapshots() == []
