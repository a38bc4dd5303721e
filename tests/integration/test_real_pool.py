"""The warm pool on a real server: taken from, filled, adopted by another controller, gone in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oriel.client import Oriel
from oriel.host.process import ProcessId
from oriel.host.records import read_process
from oriel.model.errors import OrielError
from tests.conftest import Server, start_server, stop_server

DEADLINE_S = 300.0
AHEAD = {"ORIEL_POOL_SIZE": "1", "ORIEL_KEEP_TEMPLATES": "false", "ORIEL_RUNTIME": "container"}


@pytest.fixture
def pooled(golden_image: Path, images_directory: Path) -> Iterator[Server]:
    made = start_server(images_directory, "--no-desktop", settings=AHEAD)
    yield made
    stop_server(made)


def waiting(server: Server) -> set[str]:
    """The desktops of the host that are nobody's."""
    found = set()
    for directory in (server.home / "desktops").glob("d-*"):
        spec = directory / "spec.json"
        if spec.exists() and '"spare": true' in spec.read_text():
            found.add(directory.name)
    return found


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def full(client: Oriel) -> bool:
    try:
        return sum(kind["ready"] for kind in client.pool.list()) == 1
    except OrielError:
        return False  # the controller is being started again


def test_the_next_desktop_is_there_already(pooled: Server) -> None:
    with Oriel(pooled.url, pooled.token) as client:
        until(lambda: full(client), "the pool does not fill")
        (first,) = waiting(pooled)
        desktop = client.desktops.create("mine", proxy="none", deadline_s=DEADLINE_S)
        assert desktop.info.id == first
        assert set(desktop.info.timings) == {"identity", "windows", "total"}
        said = desktop.exec(["sh", "-c", "hostname; . /etc/environment; echo $SESSION_ID"]).stdout.split()
        assert said == ["mine", desktop.info.session_id]
        painted = {window["kind"] for window in desktop.windows() if window["painted"]}
        assert {"terminal", "browser"} <= painted

        until(lambda: full(client) and len(waiting(pooled)) == 1, "the pool does not fill again")
        (second,) = waiting(pooled)
        controller = read_process(pooled.home / "controller/controller.json")
        assert controller is not None
        os.kill(controller.pid, signal.SIGKILL)
        until(lambda: ProcessId.of(controller.pid) != controller and full(client), "it is not adopted")
        assert waiting(pooled) == {second}
        assert client.desktops.create("other", proxy="none", deadline_s=DEADLINE_S).info.id == second
        for desktop in client.desktops.list():
            desktop.delete()
