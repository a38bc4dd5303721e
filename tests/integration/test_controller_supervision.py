"""What a controller finds when it starts again, whatever moment the one before it was killed at."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from oriel.client import AsyncOriel
from oriel.controller.store import desktops
from oriel.fleet import LocalHost
from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.model.errors import LaunchError
from oriel.model.spec import DesktopSpec
from oriel.model.state import State
from tests.fakes.controller import Running, against
from tests.fakes.hostd import FakeHost

ROOT = Path(__file__).resolve().parents[2]
CONTROLLER = [sys.executable, "-m", "oriel.controller", "--home"]


@against()
async def test_a_new_controller_knows_every_desktop_again(c: Running) -> None:
    runs, stops = await c.desktop("runs"), await c.desktop("stops")
    async with c.http() as http:
        await http.post("/v1/desktops/stops/stop")
    before = [await c.state(name) for name in ("runs", "stops")]
    configured = runs.configured
    await c.stop()
    await c.start()
    for known in before:
        now = await c.state(known["name"])
        assert {**now, "viewer_url": ""} == {**known, "viewer_url": ""}
    async with asyncio.timeout(30):
        while runs.configured == configured:
            await asyncio.sleep(0.02)
    assert stops.state is State.STOPPED


@against()
async def test_what_happened_meanwhile_is_taken_over(c: Running) -> None:
    desktop = await c.desktop("mine")
    await c.stop()
    await desktop.record("egress.denied", "a denial nobody saw")
    await desktop.die("while nobody looked")
    await c.start()
    assert "while nobody looked" in (await c.until("mine", "failed"))["error"]["message"]
    async with c.sdk() as oriel:
        seen = []
        async for event in (await oriel.desktop("mine")).events(after=0):
            seen.append(event.kind)
            if event.kind == "state.failed":
                break
    assert seen[-2:] == ["egress.denied", "state.failed"]
    assert seen.count("state.running") == 1


@pytest.mark.parametrize("moment", ["stored", "made", "created", "asked"])
@against()
async def test_a_create_that_was_cut_off_is_finished(c: Running, moment: str) -> None:
    """stored: only in the database. made: its keeper is there too, and the database does not know.
    created: it does. asked: its start is under way."""
    c.host.hold_start = True
    if moment in ("stored", "made"):
        await c.host.close()
        spec = await _stored(c, "mine")
        wanted = spec.id
    else:
        async with c.http() as http:
            await http.post("/v1/desktops", json={"name": "mine"})
        await c.until("mine", "starting")
        wanted = c.host.named("mine").spec.id
    await c.stop()
    if moment == "created":
        # As if the start had never reached the keeper.
        desktop = c.host.named("mine")
        desktop._starting and desktop._starting.cancel()
        desktop.state, desktop.events = State.CREATING, []
    if moment in ("stored", "made"):
        await c.host.open()
    if moment == "made":
        await LocalHost(c.home).create(spec)
    c.host.hold_start = False
    for desktop in c.host.desktops.values():
        desktop.hold.set()
    await c.start()
    assert (await c.until("mine", "running", "failed"))["state"] == "running"
    assert list(c.host.desktops) == [wanted]


async def _stored(c: Running, name: str) -> DesktopSpec:
    """A desktop in the database that its host has not heard of."""
    await c.host.open()
    async with c.http() as http:
        session = await http.get("/v1/session")
        assert session.status_code == 200
    principal = await c.parts.credentials.of_token(c.token)
    wish = await c.parts.admission.admit({"name": name}, principal)
    await c.host.close()
    await c.parts.database.write(lambda t: desktops.add(t, wish))
    return wish.spec()


@against()
async def test_a_stop_that_was_cut_off_is_finished(c: Running) -> None:
    desktop = await c.desktop("mine")
    await c.parts.database.write(
        lambda t: desktops.move(t, desktop.spec.id, State.STOPPING, wanted=desktops.Wanted.STOPPED)
    )
    await c.stop()
    await c.start()
    assert (await c.until("mine", "stopped"))["state"] == "stopped"
    assert desktop.state is State.STOPPED


@against()
async def test_a_delete_that_was_cut_off_is_finished(c: Running) -> None:
    desktop = await c.desktop("mine")
    await c.parts.database.write(
        lambda t: desktops.move(t, desktop.spec.id, State.DELETING, wanted=desktops.Wanted.DELETED)
    )
    await c.stop()
    await c.start()
    async with c.http() as http, asyncio.timeout(10):
        while (await http.get("/v1/desktops/mine")).status_code != 404:
            await asyncio.sleep(0.05)
    assert c.host.desktops == {}


@against()
async def test_what_the_host_lost_is_said(c: Running) -> None:
    await c.desktop("mine")
    await c.stop()
    await c.host.desktops.popitem()[1].close()
    await c.start()
    found = await c.until("mine", "failed")
    assert found["error"]["code"] == "vanished"
    async with c.http() as http:
        assert (await http.delete("/v1/desktops/mine")).status_code == 204


@against()
async def test_a_stranger_on_the_host_is_left_alone(c: Running) -> None:
    desktop = await c.desktop("mine")
    await c.stop()
    c.home.database.unlink()
    await c.start()
    async with c.http() as http:
        assert (await http.get("/v1/desktops")).json()["items"] == []
    assert desktop.state is State.RUNNING
    assert desktop.alive


@against()
async def test_a_keeper_that_comes_back_gets_its_way_out_again(c: Running) -> None:
    desktop = await c.desktop("mine")
    await desktop.close()
    desktop.egress = None
    await desktop.record("keeper.adopted")
    await desktop.open()
    async with asyncio.timeout(10):
        while desktop.egress is None:
            await asyncio.sleep(0.02)
    assert str(desktop.egress.mode) == "direct"
    assert (await c.state("mine"))["state"] == "running"


@against()
async def test_stop_gives_up_a_start(c: Running) -> None:
    c.host.hold_start = True
    async with c.http() as http:
        await http.post("/v1/desktops", json={"name": "mine"})
        await c.until("mine", "starting")
        answer = await http.post("/v1/desktops/mine/stop")
        assert (answer.status_code, answer.json()["state"]) == (200, "stopped")
        await asyncio.sleep(0.1)
        assert (await c.state("mine"))["state"] == "stopped"
        assert (await c.state("mine"))["error"] is None


@against()
async def test_delete_gives_up_a_start(c: Running) -> None:
    c.host.hold_start = True
    async with c.http() as http:
        await http.post("/v1/desktops", json={"name": "mine"})
        await c.until("mine", "starting")
        assert (await http.delete("/v1/desktops/mine")).status_code == 204
        assert (await http.get("/v1/desktops/mine")).status_code == 404
    assert c.host.desktops == {}


@against()
async def test_a_delete_that_fails_says_why_and_can_be_tried_again(c: Running) -> None:
    desktop = await c.desktop("mine")
    desktop.fail_remove = LaunchError("not everything could be taken away: mount", code="unclean")
    async with c.http() as http:
        answer = await http.delete("/v1/desktops/mine")
        assert (answer.status_code, answer.json()["code"]) == (500, "unclean")
        assert (await c.state("mine"))["error"]["code"] == "unclean"
        assert (await http.delete("/v1/desktops/mine")).status_code == 204


@against(concurrent_starts=2)
async def test_starts_are_bounded(c: Running) -> None:
    c.host.hold_start = True
    async with c.http() as http:
        for number in range(5):
            await http.post("/v1/desktops", json={"name": f"n{number}"})
        async with asyncio.timeout(30):
            while len(c.host.desktops) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(c.host.desktops) == 2
        c.host.hold_start = False
        for desktop in c.host.desktops.values():
            desktop.hold.set()
        for number in range(5):
            assert (await c.until(f"n{number}", "running"))["state"] == "running"


@asynccontextmanager
async def _process(home: Home, *words: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The controller as a program of its own, ready."""
    log = home.root / "controller.out"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*CONTROLLER, home.root, "--port", "0", "--pool-size", "0", *words],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            while True:
                assert process.poll() is None, log.read_text()
                record = read_json(home.controller_record)
                if record is not None and record["pid"] == process.pid:
                    async with httpx.AsyncClient(trust_env=False) as http:
                        if (await http.get(f"{record['url']}/readyz")).status_code == 200:
                            break
                await asyncio.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_killed_at_random_moments_nothing_is_lost() -> None:
    """kill -9 while desktops come and go; each new one finds what was acknowledged, and finishes the rest."""

    async def run(home: Home) -> None:
        acknowledged: set[str] = set()
        deleted: set[str] = set()
        async with FakeHost(home, step_s=0.02):
            for turn in range(5):
                async with _process(home) as process, AsyncOriel(home=home.root) as oriel:
                    for number in range(4):
                        made = await oriel.desktops.create(f"t{turn}-{number}", wait=False)
                        acknowledged.add(made.info.name)
                    if turn:
                        victim = f"t{turn - 1}-0"
                        await (await oriel.desktop(victim)).delete()
                        deleted.add(victim)
                    await asyncio.sleep(0.05 * turn)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            async with _process(home), AsyncOriel(home=home.root) as oriel:
                for _ in range(300):
                    states = {one.info.name: one.info.state for one in await oriel.desktops.list()}
                    if set(states.values()) == {"running"}:
                        break
                    await asyncio.sleep(0.1)
                assert states == dict.fromkeys(acknowledged - deleted, "running")

    with tempfile.TemporaryDirectory(prefix="oc-") as directory:
        asyncio.run(run(Home(Path(directory))))


def test_it_stops_in_order_and_says_goodbye() -> None:
    async def run(home: Home) -> None:
        async with FakeHost(home):
            async with _process(home) as process:
                token = home.admin_token.read_text().strip()
                url = (read_json(home.controller_record) or {})["url"]
                async with httpx.AsyncClient(
                    headers={"Authorization": f"Bearer {token}"}, trust_env=False
                ) as http:
                    async with http.stream("GET", f"{url}/v1/events") as stream:
                        assert stream.status_code == 200
                        process.send_signal(signal.SIGTERM)
                        assert [line async for line in stream.aiter_lines()] == [": the stream is open", ""]
                    assert process.wait(timeout=10) == 0
            assert not home.controller_record.exists()

    with tempfile.TemporaryDirectory(prefix="oc-") as directory:
        asyncio.run(run(Home(Path(directory))))


@against()
async def test_there_is_one_controller_per_home(c: Running) -> None:
    result = subprocess.run(
        [*CONTROLLER, c.home.root, "--port", "0", "--pool-size", "0"],
        capture_output=True, text=True, timeout=30, cwd=ROOT, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert result.returncode == 1
    assert "another controller serves" in result.stderr


@pytest.mark.parametrize("words", [["--port", "x", "--runtime", "vmware"], ["--vcpus=900"]])
def test_wrong_settings_are_refused_together(tmp_path: Path, words: list[str]) -> None:
    result = subprocess.run(
        [*CONTROLLER, tmp_path, *words],
        capture_output=True, text=True, timeout=30, cwd=ROOT, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert result.returncode == 1
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        result = subprocess.run(
            [*CONTROLLER, tmp_path, "--port", str(other.getsockname()[1])],
            capture_output=True, text=True, timeout=30, cwd=ROOT, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    assert result.returncode == 1
    assert "cannot listen" in result.stderr
