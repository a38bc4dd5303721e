"""Keepers outlive whatever serves them; `./run --stop --all` still finds and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from oriel.host.process import ProcessId
from tests.conftest import ROOT, start_server, stop_server
from tests.inventory import Inventory

pytestmark = pytest.mark.container


def test_desktops_are_stopped_though_nothing_serves_them(golden_image: Path, images_directory: Path) -> None:
    server = start_server(images_directory, "--no-desktop")
    made = server.json("create", "lone", "--runtime", "container", "--proxy", "none")
    record = json.loads((server.home / "serve.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    keeper = json.loads((server.home / "desktops" / made["id"] / "keeper.json").read_text())
    assert ProcessId(keeper["pid"], keeper["started"]).alive
    stopped = subprocess.run(
        [ROOT / "run", "--stop", "--all", "--home", server.home], capture_output=True, text=True, timeout=60
    )
    assert stopped.returncode == 0, stopped.stderr
    assert not ProcessId(keeper["pid"], keeper["started"]).alive
    assert not Inventory.take().of(made["id"])
    assert (server.home / "desktops" / made["id"] / "disk.img").exists(), "a stop keeps the disk"
    again = start_server(images_directory, "--no-desktop", home=server.home)
    assert again.json("show", "lone")["state"] == "stopped"
    again.oriel("delete", "lone")
    stop_server(again)
