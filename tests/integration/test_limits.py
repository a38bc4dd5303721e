"""What runs out: disk and file descriptors, of the controller and of hostd. A clear error, nothing half done,
and when there is enough again it goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from oriel.host.layout import Home
from oriel.model.errors import NoSpaceError
from tests.fakes.hostd import FakeHost
from tests.integration.hosts import hosted
from tests.integration.keepers import new_spec
from tests.integration.test_porter import DEADLINE_S, Processes
from tests.inventory import TEST_HOME, Inventory

pytestmark = pytest.mark.anyio
FEW = 24  # descriptors beyond those that are open


@contextlib.contextmanager
def small_disk(path: Path, size_mib: int) -> Iterator[None]:
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@contextlib.contextmanager
def filled(directory: Path, *, but_mib: int = 0) -> Iterator[None]:
    """Its file system is full, or has only so much left, while the block runs."""
    ballast = directory / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while shutil.disk_usage(directory).free > but_mib << 20:
                file.write(bytes(4096))
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def few_descriptors(pid: int) -> Iterator[None]:
    """That process may open FEW more than it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()) + 1 + FEW
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextlib.asynccontextmanager
async def controlled(home: Home) -> AsyncIterator[Processes]:
    """A controller as a process of its own, over a host without machines."""
    async with FakeHost(home) as host:
        made = Processes(home, host)
        try:
            await made.launch(
                "controller", "--port", "0", "--pool-size", "0", "--requests-per-second", "100000",
                "--request-burst", "100000",
            )  # fmt: skip
            yield made
        finally:
            for process in made.running.values():
                process.kill()
                process.wait()


async def names(http: httpx.AsyncClient) -> list[str]:
    return sorted(item["name"] for item in (await http.get("/v1/desktops")).json()["items"])


async def test_what_cannot_be_stored_is_refused_and_what_is_there_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="ol-") as directory:
        home = Home(Path(directory))
        with small_disk(home.controller, 64):
            async with asyncio.timeout(300), controlled(home) as c, c.http() as http:
                made = await http.post("/v1/desktops", json={"name": "before"})
                assert made.status_code == 201
                with filled(home.controller):
                    # What is free in the files that are there may still take some.
                    for number in range(10_000):
                        refused = await http.post("/v1/users", json={"name": f"u{number}", "role": "user"})
                        if refused.status_code != 201:
                            break
                    assert refused.status_code == 507, refused.text
                    assert (refused.json()["code"], "free" in refused.json()["hint"]) == ("no_space", True)
                    refused = await http.post("/v1/desktops", json={"name": "late"})
                    assert refused.status_code == 507, refused.text
                    assert await names(http) == ["before"]
                assert [one.spec.name for one in c.host.desktops.values()] == ["before"]
                again = await http.post("/v1/desktops", json={"name": "late"})
                assert again.status_code == 201, (home.root / "controller.out").read_text()[-4000:]
                assert await names(http) == ["before", "late"]
                known = {user["name"] for user in (await http.get("/v1/users")).json()["items"]}
                assert f"u{number}" not in known


async def test_a_controller_without_descriptors_goes_on_when_it_has_some_again() -> None:
    with tempfile.TemporaryDirectory(prefix="ol-") as directory:
        home = Home(Path(directory))
        async with asyncio.timeout(300), controlled(home) as c, c.http() as http:
            assert (await http.post("/v1/desktops", json={"name": "before"})).status_code == 201
            address = c.url.removeprefix("http://").split(":")
            with few_descriptors(c.running["controller"].pid), contextlib.ExitStack() as stack:
                for _ in range(3 * FEW):
                    sock = stack.enter_context(socket.create_connection((address[0], int(address[1]))))
                    sock.setblocking(False)
                # By the connection that it has: an answer of its own, and no guess what went wrong.
                answer = await http.post("/v1/desktops", json={"name": "late"})
                if answer.status_code != 201:
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert answer.status_code in (429, 503), answer.text
                assert "before" in await names(http)
            async with c.http() as fresh:
                async with asyncio.timeout(DEADLINE_S):
                    while (await fresh.get("/readyz")).status_code != 200:
                        await asyncio.sleep(0.05)
                assert (await fresh.post("/v1/desktops", json={"name": "after"})).status_code == 201
                async with c.sdk() as oriel:
                    desktop = await oriel.desktop("after")
                    await desktop.wait_ready(deadline_s=DEADLINE_S)
                # Whatever was accepted meanwhile runs, or says why it does not.
                for item in (await fresh.get("/v1/desktops")).json()["items"]:
                    assert item["state"] != "failed" or item["error"]["message"], item


@pytest.fixture
def small_home() -> Iterator[Home]:
    """On a file system of its own, just roomy enough for a desktop."""
    root = TEST_HOME / "homes" / f"limits-{secrets.token_hex(3)}"
    with small_disk(root, 700):
        yield Home(root / "home")
    root.rmdir()


async def test_a_host_without_room_makes_no_desktop_and_leaves_nothing(small_home: Home) -> None:
    async with asyncio.timeout(300), hosted(small_home) as host:
        spec = new_spec()
        small_home.image(spec.image).mkdir(parents=True, exist_ok=True)
        with filled(small_home.root, but_mib=20):
            with pytest.raises(NoSpaceError, match="MiB are free"):
                await host.ask("create", spec=spec.to_json())
            assert (await host.ask("list"))["desktops"] == []
            assert not small_home.desktop(spec.id).root.exists()
        assert Inventory.take().of(spec.id) == []
        keeper = await host.create(spec)
        assert (await keeper.ask("hello"))["id"] == spec.id


async def test_a_hostd_without_descriptors_goes_on_when_it_has_some_again(small_home: Home) -> None:
    async with asyncio.timeout(300), hosted(small_home) as host:
        assert host.process is not None
        spec = new_spec()
        with few_descriptors(host.process.pid), contextlib.ExitStack() as stack:
            for _ in range(3 * FEW):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(str(small_home.hostd_socket))
        assert (await host.ask("list"))["desktops"] == []
        keeper = await host.create(spec)
        assert (await keeper.ask("hello"))["id"] == spec.id
