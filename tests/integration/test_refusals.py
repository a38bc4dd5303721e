"""Bad input at a real server's doors: each a clear error with what to do, and nothing half-made remains."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, TEST_HOME, Server
from tests.inventory import Inventory


@pytest.fixture(autouse=True)
def nothing_half_made(server: Server) -> Iterator[None]:
    """After every refusal the host and the list of desktops are as before."""
    before, listed = Inventory.take(), server.json("list")
    yield
    assert server.json("list") == listed
    assert not Inventory.take().beyond(before)
    assert not [path.name for path in (server.home / "desktops").iterdir()]


def refused(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """It ended with that status, said these words and what to do, in two lines and without a traceback."""
    assert result.returncode == status, (result.returncode, result.stderr)
    assert result.stderr.startswith("error: "), result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["fine", "--runtime", "vmware"], ["runtime", "firecracker", "qemu", "container"]),
        (["Not_A_Name"], ["name", "a-z"]),
        (["fine", "--memory-mib", "9999999"], ["memory_mib"]),
        (["fine", "--memory-mib", "7"], ["memory_mib", "768"]),
        (["fine", "--disk-gib", "4000000"], ["disk_gib"]),
        (["fine", "--image", "missing"], ["image", "missing"]),
        (["fine", "--proxy", "missing"], ["missing"]),
    ],
)
def test_a_desktop_that_cannot_be(server: Server, options: list[str], words: list[str]) -> None:
    result = server.oriel("create", *options, check=False)
    assert result.returncode in (1, 2, 3), result.stderr
    refused(result, result.returncode, *words)


def test_all_faults_are_told_together(server: Server) -> None:
    wish = {"name": "-", "runtime": "x", "memory_mib": "much", "disk_gib": 0, "color": "blue"}
    answer = httpx.post(
        f"{server.url}/v1/desktops",
        json=wish,
        trust_env=False,
        headers={"Authorization": f"Bearer {server.token}"},
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")
    named = {fault["field"] for fault in answer.json()["faults"]}
    assert named >= {"name", "runtime", "memory_mib", "disk_gib", "color"}


def test_more_memory_than_the_host_has(server: Server) -> None:
    refused(server.oriel("create", "fine", "--memory-mib", "262144", check=False), 1, "memory_mib")


def test_firecracker_says_that_it_is_not_there(server: Server) -> None:
    told = server.oriel("create", "fine", "--runtime", "firecracker", check=False)
    refused(told, 1, "firecracker", "not installed", "oriel doctor --install-firecracker")


def test_wrong_token(server: Server) -> None:
    stranger = Server(server.home, server.url, "oriel_wrong", server.pid)
    refused(stranger.oriel("list", check=False), 4, "token")


def test_no_such_desktop(server: Server) -> None:
    refused(server.oriel("show", "nobody", check=False), 3, "desktop")


def run(*options: str, home: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # To a file: what `./run` starts may outlive it and would hold a pipe open.
    with (home / "err").open("w+") as err:
        result = subprocess.run(
            [ROOT / "run", "--detach", "--no-desktop", "--home", home, *options],
            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=err, stderr=err, timeout=120,
        )  # fmt: skip
        err.seek(0)
        lines = err.read().splitlines()
    errors = [line for line in lines if line.startswith(("error: ", "hint: "))]
    return subprocess.CompletedProcess(
        result.args, result.returncode, "", "\n".join(errors) or "\n".join(lines)
    )


@pytest.fixture
def empty_home(images_directory: Path) -> Iterator[Path]:
    home = TEST_HOME / "homes" / f"refused-{secrets.token_hex(3)}"
    home.mkdir(parents=True)
    (home / "oriel.toml").write_text(f'images_directory = "{images_directory}"\n')
    yield home
    shutil.rmtree(home)


def test_port_taken(empty_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        refused(run("--port", port, home=empty_home), 1, port, "--port")


def test_settings_that_are_wrong_are_told_together(empty_home: Path) -> None:
    (empty_home / "oriel.toml").write_text("port = 99999\ncolour = 1\n")
    refused(run(home=empty_home), 1, "port", "colour")


def test_a_home_that_its_user_cannot_reach(empty_home: Path) -> None:
    closed = empty_home / "closed"
    closed.mkdir(mode=0o700)
    inner = closed / "home"
    inner.mkdir()
    refused(run("--port", "0", home=inner), 1, "oriel", "chmod")


def test_not_root(server: Server) -> None:
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", ROOT / "scripts/setup", "run"],
        capture_output=True, text=True,
    )  # fmt: skip
    if "Permission denied" in result.stderr:
        pytest.skip("this checkout is closed to other users, so nobody but root can even start it")
    refused(result, 1, "root", "sudo")


def test_home_full(golden_image: Path, tmp_path: Path) -> None:
    """A file system of the test's own, so small that no image and no desktop fits."""
    small = TEST_HOME / "homes" / f"small-{secrets.token_hex(3)}"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", small], check=True)
    try:
        refused(
            run("--port", "0", home=small, env={"ORIEL_IMAGES_DIRECTORY": str(small / "images")}), 1, "GiB"
        )
        left = [path for path in (small / "images").rglob("*") if path.is_file() and path.stat().st_size]
        assert not left, left
    finally:
        subprocess.run(["umount", small], check=True)
        small.rmdir()


def test_a_broken_recipe(server: Server) -> None:
    recipes = server.home / "recipes"
    recipes.mkdir()
    try:
        (recipes / "broken.toml").write_text('extends = "nothing"\npackages = 7\n')
        result = server.oriel("image", "build", "broken", check=False)
        refused(result, result.returncode, "broken")
        assert result.returncode in (1, 2)
    finally:
        shutil.rmtree(recipes)
