"""The main job, on every runtime: a real server, the golden image, a desktop used as its user would."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from oriel.host.layout import Home
from oriel.host.process import ProcessId
from oriel.model import wire
from tests.conftest import Server
from tests.inventory import Inventory

RUNTIMES = [
    pytest.param("container", marks=pytest.mark.container),
    pytest.param("qemu", marks=pytest.mark.emulated),
]
READY_S = 400  # a cold boot in full emulation, beside whatever else this machine does


@dataclass
class Made:
    """A desktop of a real server, under test."""

    server: Server
    name: str
    id: str
    runtime: str

    def exec(self, *argv: str) -> str:
        return self.server.oriel("exec", self.name, "--", *argv).stdout

    def show(self) -> dict:
        return self.server.json("show", self.name)

    @property
    def keeper_socket(self) -> Path:
        return self.server.home / "desktops" / self.id / "keeper.sock"

    def keeper(self, verb: str, **args: object) -> dict:
        return asyncio.run(wire.call(wire.unix(self.keeper_socket), verb, args))

    def machine(self) -> ProcessId:
        found = ProcessId.of(self.keeper("inspect")["machine"]["pid"])
        assert found
        return found

    def wait_state(self, state: str, deadline_s: float = 30) -> dict:
        """By the desktop's events, not by time."""
        deadline = time.monotonic() + deadline_s
        while (shown := self.show())["state"] != state:
            assert time.monotonic() < deadline, f"still {shown['state']}, not {state}: {shown['error']}"
        return shown


@pytest.fixture(scope="module", params=RUNTIMES)
def desktop(request: pytest.FixtureRequest, server: Server) -> Iterator[Made]:
    name = f"{request.param}-{secrets.token_hex(2)}"
    made = server.json("create", name, "--runtime", request.param, "--proxy", "none", timeout=READY_S)
    assert made["state"] == "running"
    yield Made(server, name, made["id"], request.param)
    server.oriel("delete", name)
    left = Inventory.take().of(made["id"])
    assert not left, left
    assert not (server.home / "desktops" / made["id"]).exists()


def test_object_tells_what_it_is(desktop: Made) -> None:
    shown = desktop.show()
    assert shown["runtime"] == desktop.runtime
    assert shown["isolation"] in ({"container"} if desktop.runtime == "container" else {"vm", "emulated-vm"})
    assert shown["screen"] == {"width": 1280, "height": 720}
    assert {"link", "disk", "gateway", "machine", "agent", "identity", "windows", "total"} <= set(
        shown["timings"]
    )


def test_screenshot_has_both_windows_painted(desktop: Made, tmp_path: Path) -> None:
    picture = tmp_path / f"{desktop.runtime}.png"
    desktop.server.oriel("screenshot", desktop.name, str(picture))
    width, height, colours = png_colours(picture)
    assert (width, height) == (1280, 720)
    assert colours > 50, "a painted desktop has text, icons and shades"
    windows = httpx.get(
        f"{desktop.server.url}/v1/desktops/{desktop.id}/windows",
        headers={"Authorization": f"Bearer {desktop.server.token}"},
        trust_env=False,
    ).json()["windows"]
    painted = {window["kind"]: window for window in windows if window["mapped"] and window["painted"]}
    assert {"terminal", "browser"} <= set(painted)
    assert not overlap(painted["terminal"], painted["browser"])


def test_exec_is_the_desktops_user_with_its_environment(desktop: Made) -> None:
    assert desktop.exec("id", "-un").strip() == "user"
    environment = dict(line.split("=", 1) for line in desktop.exec("env").splitlines() if "=" in line)
    assert environment["HTTP_PROXY"] == environment["https_proxy"] == "http://192.168.0.1:3128"
    assert environment["NO_PROXY"] == "localhost,127.0.0.1,192.168.0.0/16"
    assert environment["SESSION_ID"] == desktop.show()["session_id"]
    assert desktop.exec("hostname").strip() == desktop.name
    failing = desktop.server.oriel(
        "exec", desktop.name, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False
    )
    assert (failing.returncode, failing.stdout, failing.stderr) == (7, "out\n", "err\n")


@pytest.mark.parametrize("tool", ["codex", "claude", "gemini"])
def test_cli_tools_run(desktop: Made, tool: str) -> None:
    assert any(part.isdigit() for part in desktop.exec("bash", "-lc", f"{tool} --version"))


def test_node_is_20(desktop: Made) -> None:
    assert desktop.exec("node", "--version").startswith("v20.")


def test_no_way_out_but_the_gateway(desktop: Made) -> None:
    routes = desktop.exec("ip", "-o", "route").splitlines()
    assert all("192.168.0." in route for route in routes), routes
    assert desktop.exec("sh", "-c", "ip -6 -o addr show scope global | wc -l").strip() == "0"
    refused = desktop.server.oriel(
        "exec", desktop.name, "--", "curl", "-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
        "http://origin.example/", check=False,
    )  # fmt: skip
    assert refused.stdout.strip() in ("403", "502"), refused


def test_files_survive_stop_and_start(desktop: Made) -> None:
    nonce = secrets.token_hex(16)
    desktop.exec("sh", "-c", f"echo {nonce} > ~/kept && sync")
    desktop.server.oriel("stop", desktop.name)
    assert desktop.show()["state"] == "stopped"
    assert not [line for line in Inventory.take().of(desktop.id) if line.startswith(("mounts", "loops"))]
    desktop.server.oriel("start", desktop.name, timeout=READY_S)
    assert desktop.exec("cat", "/home/user/kept").strip() == nonce


def test_synced_files_survive_kill_9_of_the_machine(desktop: Made) -> None:
    nonce = secrets.token_hex(16)
    desktop.exec("sh", "-c", f"echo {nonce} > ~/synced && sync ~/synced")
    machine = desktop.machine()
    began = time.monotonic()
    assert machine.signal(signal.SIGKILL)
    shown = desktop.wait_state("failed", 15)
    assert time.monotonic() - began < 15
    assert shown["error"]["message"]
    desktop.server.oriel("start", desktop.name, timeout=READY_S)
    assert desktop.exec("cat", "/home/user/synced").strip() == nonce


def test_killed_controller_comes_back_and_a_direct_stream_goes_on(desktop: Made) -> None:
    asyncio.run(_kill_controller_under_a_stream(desktop))


async def _kill_controller_under_a_stream(desktop: Made) -> None:
    stream = await wire.open_stream(wire.unix(desktop.keeper_socket), "vnc")
    assert await stream.reader.readexactly(12) == b"RFB 003.008\n"
    stream.writer.write(b"RFB 003.008\n")
    assert b"\x01" in await stream.reader.readexactly(2)
    record = desktop.server.home / "controller" / "controller.json"
    before = json.loads(record.read_text())["pid"]
    os.kill(before, signal.SIGKILL)
    stream.writer.write(b"\x01")
    assert await stream.reader.readexactly(4) == bytes(4)
    stream.writer.write(b"\x01")  # ClientInit, shared
    width, height = struct.unpack(">HH", (await stream.reader.readexactly(24))[:4])
    assert (width, height) == (1280, 720)
    # The listening socket outlived the controller: this request waits until its successor answers.
    shown = await asyncio.to_thread(desktop.show)
    assert shown["state"] == "running"
    assert json.loads(record.read_text())["pid"] != before
    await wire.close(stream.writer)


def overlap(one: dict, other: dict) -> bool:
    """Whether two windows cover each other."""
    return (
        one["x"] < other["x"] + other["width"] and other["x"] < one["x"] + one["width"]
        and one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"]
    )  # fmt: skip


def png_colours(path: Path) -> tuple[int, int, int]:
    """Width, height and the number of distinct colours of an 8-bit RGB PNG."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (depth, kind) == (8, 2)
    body, at = b"", 8
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"IDAT":
            body += data[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(body), width * 3 + 1
    above = bytes(stride - 1)
    colours: set[bytes] = set()
    for y in range(height):
        line = raw[y * stride : (y + 1) * stride]
        assert line[0] in (0, 2), f"row filter {line[0]}: this reader knows None and Up (PNG, 9.2)"
        above = bytes((a + b) & 255 for a, b in zip(line[1:], above, strict=True)) if line[0] else line[1:]
        colours |= {above[x : x + 3] for x in range(0, stride - 1, 3)}
    return width, height, len(colours)


@pytest.mark.container
def test_one_id_joins_what_all_processes_say_of_a_request(server: Server) -> None:
    """The id that its answer had finds a create in the logs of the controller, hostd and the keeper."""
    name = f"joined-{secrets.token_hex(2)}"
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, trust_env=False, timeout=60
    ) as http:
        wanted = {"name": name, "runtime": "container", "proxy": "none"}
        answer = http.post("/v1/desktops", json=wanted)
        assert answer.status_code == 201, answer.text
    home, request = Home(server.home), answer.headers["X-Request-Id"]
    try:
        made = Made(server, name, answer.json()["id"], "container")
        made.wait_state("running", READY_S)
        keeper = home.desktop(made.id).keeper_log
        for log, verb in ((home.hostd_log, "create"), (keeper, "configure_egress"), (keeper, "start")):
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            said = [line for line in lines if line.get("request") == request]
            assert {line["outcome"] for line in said if line.get("verb") == verb} == {"ok"}, (verb, said)
        assert request in home.controller_log.read_text()
    finally:
        server.oriel("delete", name)
