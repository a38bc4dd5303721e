"""What every layer shares: the golden image, a real server, and the watch over what tests leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import hypothesis
import pytest

from tests.inventory import TEST_HOME, Inventory

ROOT = Path(__file__).resolve().parents[1]
# How long an example takes says how busy the machine is, and nothing of what is tried.
hypothesis.settings.register_profile("oriel", deadline=None)
hypothesis.settings.load_profile("oriel")
# Nothing is made behind a test's back, but where it asks for that.
NOTHING_AHEAD = {"ORIEL_POOL_SIZE": "0", "ORIEL_KEEP_TEMPLATES": "false"}


@pytest.fixture
def anyio_backend() -> str:
    """Tests marked `anyio` are coroutines, and run on asyncio's loop."""
    return "asyncio"


@pytest.fixture(scope="session")
def need_root() -> None:
    """For tests that make namespaces and machines."""
    if os.geteuid() != 0:
        pytest.fail("these tests make namespaces and machines: run ./test as root")


@pytest.fixture(scope="session")
def images_directory() -> Path:
    """Where the golden image is cached between runs, keyed by the hash of its plan."""
    directory = TEST_HOME / "images"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def golden_image(images_directory: Path, need_root: None) -> Path:
    """The directory of the current plan's golden image; built (minutes) if it is not there yet."""
    from oriel.host.layout import Home
    from oriel.image.build import build

    home = Home(TEST_HOME, images_directory)
    info = asyncio.run(
        build("default", home, lambda step: print(f"image: {step}", file=sys.stderr, flush=True))
    )
    return home.image(info.id)


@dataclass(frozen=True)
class Server:
    """A real `./run --detach` of the test's own."""

    home: Path
    url: str
    token: str
    pid: int

    def oriel(
        self, *argv: str, check: bool = True, stdin: str = "", timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """The command line against this server. With `check` a failure fails the test with its output."""
        environment = {"PATH": os.environ["PATH"], "ORIEL_URL": self.url, "ORIEL_TOKEN": self.token}
        result = subprocess.run(
            [ROOT / ".venv/bin/oriel", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
        if check and result.returncode != 0:
            pytest.fail(f"oriel {' '.join(argv)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def get(self, path: str) -> str:
        """The text of one GET under /v1."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(f"{self.url}/v1/{path}", headers=headers, trust_env=False, timeout=30).text

    def json(self, *argv: str, timeout: float = 300) -> dict:
        return json.loads(self.oriel(*argv, "--json", timeout=timeout).stdout)


def start_server(
    images: Path, *options: str, home: Path | None = None, settings: Mapping[str, str] = NOTHING_AHEAD
) -> Server:
    """`./run --detach` on a home of its own, without the first desktop. `settings`: ORIEL_… of it."""
    home = home or TEST_HOME / "homes" / secrets.token_hex(4)
    home.mkdir(parents=True, exist_ok=True)
    # A file descriptor, not a pipe: what the server starts may outlive this call and would hold a pipe open.
    with (home / "run.out").open("w+") as out:
        result = subprocess.run(
            [ROOT / "run", "--detach", "--port", "0", "--home", home, *options],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=600,
            # Its templates need not be the best: nobody waits for them to settle.
            env={**os.environ, "ORIEL_TEMPLATE_SETTLE_S": "0", **settings,
                 "ORIEL_IMAGES_DIRECTORY": str(images)},
        )  # fmt: skip
        out.seek(0)
        said = out.read()
    assert result.returncode == 0, said
    answer = json.loads(said.strip().splitlines()[-1])
    return Server(home, answer["url"], answer["token"], answer["pid"])


def stop_server(server: Server) -> None:
    """Stop everything and remove the home; a failure to do so fails the test."""
    result = subprocess.run(
        [ROOT / "run", "--stop", "--all", "--home", server.home], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    shutil.rmtree(server.home)


@pytest.fixture(scope="session")
def server(golden_image: Path, images_directory: Path) -> Iterator[Server]:
    """One real server for a whole layer; desktops are the tests' own."""
    made = start_server(images_directory, "--no-desktop")
    yield made
    stop_server(made)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A whole layer leaves the host as it found it: processes, namespaces, mounts, loops, links."""
    before = Inventory.take()
    yield
    left = Inventory.take().beyond(before)
    assert not left, "left behind:\n" + "\n".join(left)
