"""A desktop's whole life in Firecracker, by the command line of a real server.

Run by the job `life` in an emulated host (`python -m tests.nested --job life …`). The steps build on each
other, in this order; each tells its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from oriel.host.process import ProcessId
from oriel.model import wire
from tests.conftest import NOTHING_AHEAD, ROOT, Server, start_server, stop_server
from tests.integration.test_real_desktop import overlap, png_colours
from tests.inventory import TEST_HOME, Inventory

ARCHIVE = Path("/mnt/bin/firecracker-x86_64.tgz")
KEPT = Path("/var/tmp/kept")
LONG_S = 2400
SIZE = ("--vcpus", "1", "--memory-mib", "1024")
SHAPE = ("--runtime", "firecracker", *SIZE, "--proxy", "none", "--deadline", str(LONG_S))
TIMES: dict[str, float] = {}
CYCLES = 10
PATIENT = {"ORIEL_START_DEADLINE_S": str(LONG_S), "ORIEL_STOP_DEADLINE_S": "300"}


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    tell(what, time.monotonic() - began)


def tell(what: str, seconds: float) -> None:
    TIMES[what] = round(seconds, 2)
    print(f"life: {what:44} {seconds:8.2f} s", flush=True)
    (KEPT / "times.json").write_text(json.dumps(TIMES, indent=1))


@pytest.fixture(scope="module")
def server(images_directory: Path) -> Iterator[Server]:
    """As an operator: the release from its archive, doctor, serve."""
    home = TEST_HOME
    argv = [ROOT / ".venv/bin/oriel", "doctor", "--install-firecracker", ARCHIVE, "--home", home, "--json"]
    with timed("doctor with a test boot"):
        told = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=LONG_S)
    checks = {check["id"]: check for check in json.loads(told.stdout)["checks"]}
    print(json.dumps({name: checks[name] for name in sorted(checks) if not checks[name]["ok"]}, indent=1))
    assert checks["runtime.firecracker"]["ok"], checks["runtime.firecracker"]
    with timed("serve"):
        made = start_server(
            images_directory, "--no-desktop", home=home,
            settings=NOTHING_AHEAD | PATIENT,
        )  # fmt: skip
    yield made
    stop_server(made)


class Life:
    """One desktop by its name."""

    def __init__(self, server: Server, name: str, told: dict) -> None:
        self.server, self.name, self.id, self.told = server, name, told["id"], told

    @staticmethod
    def create(server: Server, name: str) -> Life:
        return Life(server, name, server.json("create", name, *SHAPE, timeout=LONG_S))

    def sh(self, script: str) -> str:
        done = self.server.oriel("exec", self.name, "--", "bash", "-lc", script, timeout=LONG_S)
        return done.stdout.strip()

    def do(self, verb: str, *more: str) -> dict:
        return self.server.json(verb, self.name, *more, timeout=LONG_S)

    def picture(self) -> int:
        """Kept outside; its number of colours."""
        file = KEPT / f"{self.name}.png"
        self.server.oriel("screenshot", self.name, str(file), timeout=LONG_S)
        width, height, colours = png_colours(file)
        assert (width, height) == (1280, 720)
        return colours

    def windows(self) -> dict[str, dict]:
        answer = json.loads(self.server.get(f"desktops/{self.id}/windows"))["windows"]
        return {window["kind"]: window for window in answer if window["mapped"] and window["painted"]}

    def machine(self) -> ProcessId:
        socket = self.server.home / "desktops" / self.id / "keeper.sock"
        told = asyncio.run(wire.call(wire.unix(socket), "inspect", {}))
        found = ProcessId.of(told["machine"]["pid"])
        assert found is not None
        return found

    def delete(self) -> None:
        self.server.oriel("delete", self.name, timeout=LONG_S)
        left = Inventory.take().of(self.id)
        assert not left, left
        assert not (self.server.home / "desktops" / self.id).exists()


@pytest.fixture(scope="module")
def desktop(server: Server) -> Life:
    with timed("create by a cold boot"):
        made = Life.create(server, "life")
    for step, seconds in made.told["timings"].items():
        tell(f"  of it {step}", seconds)
    return made


def test_it_is_a_microvm_with_both_windows_painted(desktop: Life) -> None:
    assert (desktop.told["runtime"], desktop.told["isolation"]) == ("firecracker", "vm")
    painted = desktop.windows()
    assert {"terminal", "browser"} <= set(painted)
    assert not overlap(painted["terminal"], painted["browser"])
    with timed("screenshot"):
        assert desktop.picture() > 50


def test_exec_is_its_user_with_its_tools(desktop: Life) -> None:
    with timed("exec"):
        assert desktop.sh("id -un") == "user"
    assert desktop.sh("echo $SESSION_ID") == desktop.do("show")["session_id"]
    assert desktop.sh("hostname") == desktop.name
    for tool in ("codex", "claude"):  # gemini takes ten minutes on a processor that is emulated twice
        with timed(f"{tool} --version"):
            assert any(character.isdigit() for character in desktop.sh(f"{tool} --version"))


def test_memory_that_is_freed_in_it_is_given_back(server: Server, desktop: Life) -> None:
    """The balloon's free-page reporting: filled with 256 MiB, emptied, and smaller without being asked. Only
    whole blocks of 2 MiB come back, and what is free is used again meanwhile: half of it is enough."""
    desktop.sh("head -c 256M /dev/zero > /dev/shm/fill; rm -f /dev/shm/none")
    full = memory_mib(server, desktop)
    desktop.sh("rm /dev/shm/fill")
    began = time.monotonic()
    while (now := memory_mib(server, desktop)) > full - 128:
        assert time.monotonic() < began + 600, f"{now} of {full} MiB are still taken"
        time.sleep(2)
    print(f"life: its machine takes {now} MiB of the host, after {full} MiB")
    tell("256 MiB freed in it until the host has 128 of them", time.monotonic() - began)
    counted = json.loads(server.get(f"desktops/{desktop.id}/usage"))["vmm"]
    print(f"life: its counters: {counted}")
    assert counted["balloon.free_page_report_freed"] >= 128 << 20
    assert counted["block.read_bytes"] > 1 << 20
    assert f'oriel_vmm_block_write_bytes_total{{desktop="{desktop.id}"}}' in metrics(server)


def memory_mib(server: Server, desktop: Life) -> float:
    """What its machine takes of the host."""
    return float(json.loads(server.get(f"desktops/{desktop.id}/usage"))["by"]["machine"]["memory_mib"])


def metrics(server: Server) -> str:
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.get(f"{server.url}/metrics", headers=headers, trust_env=False, timeout=60).text


def test_snapshot(desktop: Life) -> None:
    desktop.sh("echo snapshot > /dev/shm/mark; echo snapshot > ~/mark; sync")
    with timed("snapshot"):
        kept = desktop.do("snapshot", "early")
    tell("  of it standing still", kept["stood_still_s"])
    assert desktop.sh("cat /dev/shm/mark ~/mark").split() == ["snapshot", "snapshot"]


def test_pause_and_resume(desktop: Life) -> None:
    desktop.sh("echo later > /dev/shm/mark; echo later > ~/mark; sync")
    boot = desktop.sh("cat /proc/stat | grep btime; cat /proc/sys/kernel/random/boot_id").splitlines()[-1]
    with timed("pause"):
        assert desktop.do("pause")["state"] == "paused"
    assert not [line for line in Inventory.take().of(desktop.id) if line.startswith("cgroups")]
    with timed("resume"):
        assert desktop.do("resume")["state"] == "running"
    assert desktop.sh("cat /dev/shm/mark ~/mark").split() == ["later", "later"]
    assert desktop.sh("cat /proc/sys/kernel/random/boot_id") == boot
    before = time.time()
    assert before - 5 <= float(desktop.sh("date +%s.%N")) <= time.time() + 1


def test_two_forks_at_once_go_their_own_ways(server: Server, desktop: Life) -> None:
    with timed("two forks at once"), ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda name: desktop.do("fork", name), ("fork-one", "fork-two")))
    forks = [Life(server, told["name"], told) for told in made]
    try:
        for fork in forks:
            assert fork.sh("cat /dev/shm/mark ~/mark").split() == ["later", "later"]
            assert {"terminal", "browser"} <= set(fork.windows())
            assert fork.sh("hostname") == fork.name
            fork.sh(f"echo {fork.name} > /dev/shm/mark; sync")
        draws = [fork.sh("head -c 16 /dev/urandom | base64; cat /etc/machine-id") for fork in forks]
        assert not set(draws[0].split()) & set(draws[1].split())
        assert [fork.sh("cat /dev/shm/mark") for fork in forks] == ["fork-one", "fork-two"]
        assert desktop.sh("cat /dev/shm/mark") == "later"
        forks[0].picture()
    finally:
        for fork in forks:
            with timed(f"delete {fork.name}"):
                fork.delete()


def test_rewind(desktop: Life) -> None:
    with timed("rewind"):
        assert desktop.do("rewind", "early")["state"] == "running"
    assert desktop.sh("cat /dev/shm/mark ~/mark").split() == ["snapshot", "snapshot"]
    assert {"terminal", "browser"} <= set(desktop.windows())


def test_kill_9_of_the_machine_is_told_and_recovered_from(desktop: Life) -> None:
    nonce = secrets.token_hex(16)
    desktop.sh(f"echo {nonce} > ~/synced && sync ~/synced")
    machine = desktop.machine()
    killed = datetime.now(UTC)
    assert machine.signal(signal.SIGKILL)
    until = time.monotonic() + 120
    while (shown := desktop.do("show"))["state"] != "failed":
        assert time.monotonic() < until, shown
    events = desktop.do("events")["items"]
    failed = [event for event in events if event["kind"] == "state.failed"][-1]
    tell("kill -9 until its failure", (datetime.fromisoformat(failed["at"]) - killed).total_seconds())
    error = shown["error"]
    print(f"life: its error: {json.dumps(error)}")
    assert "SIGKILL" in error["message"]
    with timed("start after kill -9 (a cold boot)"):
        assert desktop.do("start")["state"] == "running"
    assert desktop.sh("cat ~/synced") == nonce
    assert {"terminal", "browser"} <= set(desktop.windows())


def test_verify_as_far_as_it_makes_sense_here(desktop: Life) -> None:
    """All but what goes out, which the way out `none` refuses, and what has a limit of time."""
    with timed("verify"):
        done = desktop.server.oriel("verify", desktop.name, "--json", check=False, timeout=LONG_S)
    (KEPT / "verify.json").write_text(done.stdout)
    checks = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    for check in checks.values():
        print(f"life: verify {'pass' if check['passed'] else 'FAIL'} {check['id']:20} {check['detail']}")
    wanted = {"terminal_visible", "browser_visible", "terminal_typing", "browser_navigates"}
    wanted |= {"stays_alive", "no_disconnects"}
    assert not [name for name in sorted(wanted) if not checks[name]["passed"]]


def test_stop_start_and_delete(desktop: Life) -> None:
    desktop.sh("echo kept > ~/kept; sync")
    with timed("stop"):
        assert desktop.do("stop")["state"] == "stopped"
    assert not [line for line in Inventory.take().of(desktop.id) if not line.startswith("processes")]
    with timed("delete"):
        desktop.delete()


def test_template_and_ten_creates_and_deletes_leave_nothing(server: Server) -> None:
    with timed("template"):
        template = server.json("template", "build", "--runtime", "firecracker", *SIZE, timeout=LONG_S)
    before, uids = Inventory.take(), occupied()
    for number in range(1, CYCLES + 1):
        with timed(f"create {number} from the template"):
            made = Life.create(server, f"cycle-{number}")
        if number == 1:
            for step, seconds in made.told["timings"].items():
                tell(f"  of it {step}", seconds)
            assert {"terminal", "browser"} <= set(made.windows())
            paused_and_resumed(made)
            made.picture()
        with timed(f"delete {number}"):
            made.delete()
    assert not Inventory.take().beyond(before)
    assert occupied() <= uids
    assert [path.name for path in (server.home / "desktops").iterdir()] == []
    assert not list(Path("/sys/fs/cgroup").glob("**/firecracker*"))
    server.oriel("template", "delete", template["id"])


def paused_and_resumed(desktop: Life) -> None:
    """One that began at a template writes only what is its own."""
    desktop.sh("echo mine > /dev/shm/mark")
    with timed("pause of one from a template"):
        desktop.do("pause")
    (told,) = [event["data"] for event in desktop.do("events")["items"] if event["kind"] == "state.paused"]
    print(f"life: it wrote {told['bytes'] >> 20} MiB of 1024, and stood still for {told['seconds']} s")
    assert told["bytes"] < 700 << 20
    with timed("resume of it"):
        desktop.do("resume")
    assert desktop.sh("cat /dev/shm/mark") == "mine"
    assert {"terminal", "browser"} <= set(desktop.windows())


def occupied() -> set[str]:
    """Slots, and processes and files of their uids."""
    found = {path.name for path in Path("/run/oriel/slots").iterdir()}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError):
            if 200_000 <= (uid := entry.stat().st_uid) < 300_000:
                found.add(f"process {entry.name} of uid {uid}")
    return found


def test_image_verify(server: Server) -> None:
    """What the operator asks of an image; the checks that have a limit of time are told only."""
    with timed("image verify"):
        done = server.oriel(
            "image", "verify", "--runtime", "firecracker", "--json", check=False, timeout=LONG_S
        )
    (KEPT / "image-verify.json").write_text(done.stdout)
    checks = json.loads(done.stdout)["checks"]
    for check in checks:
        print(f"life: image {'pass' if check['passed'] else 'FAIL'} {check['id']:28} {check['detail']}")
    assert len(checks) > 20
    assert not [check["id"] for check in checks if not check["passed"] and check["id"] != "idle"]
