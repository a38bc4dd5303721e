"""The command line and the SDK against a real server and a real desktop, behind a proxy of the test's own."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oriel.client.verify import CRITERIA
from tests.conftest import ROOT, Server
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.container

ORIEL = ROOT / ".venv/bin/oriel"
READY_S = 120


@dataclass
class World:
    """An origin, the only proxy that leads to it, and a desktop that goes out by that proxy."""

    server: Server
    origin: Origin
    upstream: UpstreamProxy
    proxy: str
    name: str

    @property
    def url(self) -> str:
        return f"http://page.test:{self.origin.port}/"

    def oriel(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.server.oriel(*argv, check=check, stdin=stdin)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "ORIEL_URL": self.server.url, "ORIEL_TOKEN": self.server.token,
        }  # fmt: skip


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    tag = secrets.token_hex(2)
    password = secrets.token_hex(8)
    with Origin() as origin, UpstreamProxy(username="ada", password=password, source="127.0.0.9") as upstream:
        upstream.hosts["page.test"] = ("127.0.0.1", origin.port)
        made = World(server, origin, upstream, f"proxy-{tag}", f"cli-{tag}")
        added = made.oriel("proxy", "add", made.proxy, "--json", stdin=upstream.url + "\n")
        assert password not in added.stdout + added.stderr
        assert json.loads(added.stdout)["has_password"] is True
        created = server.json(
            "create", made.name, "--runtime", "container", "--proxy", made.proxy, timeout=READY_S
        )
        assert created["state"] == "running"
        yield made
        made.oriel("delete", made.name)
        made.oriel("proxy", "delete", made.proxy)


def test_verify_passes_all_ten(world: World) -> None:
    report = json.loads(
        world.oriel("verify", world.name, "--url", world.url, "--soak", "0.2", "--json", check=False).stdout
    )
    assert [check["id"] for check in report["checks"]] == list(CRITERIA)
    assert report["passed"], report
    assert {seen.peer for seen in world.origin.seen} == {"127.0.0.9"}, "only the proxy reached the origin"


def test_verify_without_internet_fails_that_check_alone(world: World) -> None:
    world.oriel("proxy", "assign", "none", world.name)
    try:
        result = world.oriel("verify", world.name, "--url", world.url, "--json", check=False)
    finally:
        world.oriel("proxy", "assign", world.proxy, world.name)
    assert result.returncode == 1
    failed = [check["id"] for check in json.loads(result.stdout)["checks"] if not check["passed"]]
    assert failed == ["internet"]


def test_exec_streams_and_ends_as_the_command_does(world: World) -> None:
    sorted_ = world.oriel("exec", world.name, "--", "sort", stdin="pear\napple\n")
    assert sorted_.stdout == "apple\npear\n"
    failing = world.oriel("exec", world.name, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (failing.returncode, failing.stdout, failing.stderr) == (7, "out\n", "err\n")
    assert world.oriel("exec", world.name, "--", "no-such-command", check=False).returncode == 127
    environment = world.oriel("exec", world.name, "--env", "MARK=x y", "--", "printenv", "MARK")
    assert environment.stdout == "x y\n"


def test_a_large_stream_comes_through_whole(world: World, tmp_path: Path) -> None:
    data = secrets.token_bytes(3_000_000)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source:
        result = subprocess.run(
            [ORIEL, "exec", world.name, "--", "cat"], stdin=source, capture_output=True, check=True,
            env=world.environment(), timeout=60,
        )  # fmt: skip
    assert result.stdout == data


def test_ctrl_c_is_the_commands_own(world: World) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    running = subprocess.Popen(
        [ORIEL, "exec", world.name, "--", "sh", "-c", script], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=world.environment(),
    )  # fmt: skip
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (out, err, running.returncode) == ("caught\n", "", 5)


def test_a_shell_on_a_terminal(world: World) -> None:
    """In a pseudo-terminal of the test's own, as a person has one."""
    import pty

    master, slave = pty.openpty()
    shell = subprocess.Popen(
        [ORIEL, "shell", world.name], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=world.environment() | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    try:
        said = read_until(master, b"$ ")
        os.write(master, b"stty size; echo $TERM $((40+2)); exit 3\n")
        said += read_until(master, b"xterm 42")
        assert shell.wait(30) == 3
    finally:
        shell.kill()
        shell.wait()
        os.close(master)
    assert world.name.encode() in said


def read_until(fd: int, mark: bytes) -> bytes:
    said = b""
    while mark not in said:
        said += os.read(fd, 4096)
    return said


def test_copies_both_ways(world: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/script").write_text("#!/bin/sh\necho hi\n")
    (tree / "sub/script").chmod(0o755)
    (tree / "link").symlink_to("/etc/passwd")
    world.oriel("cp", str(tree), f"{world.name}:copied")
    assert world.oriel("exec", world.name, "--", "copied/sub/script").stdout == "hi\n"
    world.oriel("cp", f"{world.name}:copied", str(tmp_path / "back"))
    assert (tmp_path / "back/sub/script").read_bytes() == (tree / "sub/script").read_bytes()
    assert (tmp_path / "back/sub/script").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "back/link").is_symlink()
    missing = world.oriel("cp", f"{world.name}:no/such", str(tmp_path / "x"), check=False)
    assert missing.returncode == 3
    assert not (tmp_path / "x").exists()


def test_look_type_and_click(world: World, tmp_path: Path) -> None:
    shot = json.loads(world.oriel("screenshot", world.name, str(tmp_path / "s.png"), "--json").stdout)
    assert (shot["width"], shot["height"]) == (1280, 720)
    world.oriel("click", world.name, "300", "200")
    word = secrets.token_hex(4)
    world.oriel("type", world.name, f" echo {word} > /tmp/{word}")
    world.oriel("key", world.name, "Return")
    waiting = f"until [ -s /tmp/{word} ]; do sleep 0.05; done; cat /tmp/{word}"
    seen = world.oriel("exec", world.name, "--timeout-s", "15", "--", "sh", "-c", waiting)
    assert seen.stdout.strip() == word


def test_exit_statuses(world: World) -> None:
    def status(*argv: str) -> int:
        result = world.oriel(*argv, check=False)
        assert "Traceback" not in result.stderr
        if result.returncode:
            what, do = result.stderr.strip().splitlines()[-2:]
            assert (what[:7], do[:6]) == ("error: ", "hint: ")
        return result.returncode

    assert status("show", world.name) == 0
    assert status("create", "Bad_Name", "--memory-mib", "1") == 1
    assert status("show", "no-such-desktop") == 3
    assert status("delete", "no-such-desktop") == 3
    assert status("create", world.name) == 4
    assert status("proxy", "delete", world.proxy) == 4
    assert status("snapshot", world.name, "one") == 1  # a container's memory cannot be kept
    assert status("pause", world.name) == 0
    assert status("exec", world.name, "--", "true") == 0  # it wakes for whatever needs it
    assert status("show", world.name) == 0
    wrong = subprocess.run(
        [ORIEL, "list"], env=world.environment() | {"ORIEL_TOKEN": "wrong"}, capture_output=True, check=False
    )
    assert wrong.returncode == 4


def test_people_and_tokens(world: World) -> None:
    name = f"u{secrets.token_hex(3)}"
    world.oriel("user", "add", name, "--role", "user")
    made = json.loads(world.oriel("token", "create", name, "laptop", "--json").stdout)
    mine = subprocess.run(
        [ORIEL, "list", "--json"], env=world.environment() | {"ORIEL_TOKEN": made["token"]},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(mine.stdout) == {"items": []}, "another user's desktops are not theirs to see"
    assert made["token"] not in world.oriel("token", "list", "--json").stdout
    world.oriel("token", "revoke", made["id"])
    world.oriel("user", "delete", name)


def test_events_are_told_to_their_end(world: World) -> None:
    kept = json.loads(world.oriel("events", world.name, "--json").stdout)["items"]
    kinds = [event["kind"] for event in kept]
    assert "state.running" in kinds
    assert [event["seq"] for event in kept] == sorted(event["seq"] for event in kept)


@pytest.mark.parametrize("number", range(5))
def test_the_guides_python_examples_run(world: World, tmp_path: Path, number: int) -> None:
    text = (ROOT / "docs/how-to/drive-from-python.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(examples) == 5
    result = subprocess.run(
        [sys.executable, "-c", examples[number]], cwd=tmp_path, env=world.environment(),
        capture_output=True, text=True, timeout=READY_S, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
