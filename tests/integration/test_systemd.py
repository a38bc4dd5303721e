"""Oriel as a service: installed, started, killed, upgraded and shut down on a host that systemd runs."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from oriel.host.layout import Home
from oriel.keeper.journal import read_ledger
from tests.systemd_host import ROOT, SystemdHost, booted

pytestmark = pytest.mark.container

PATIENCE_S = 120
# systemd-analyze's exposure, from 0 (none) to 10. hostd's is what it must have: see its unit.
MOST_EXPOSED = {"oriel.service": 2.0, "oriel-porter.service": 2.0}


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def host(golden_image: Path, images_directory: Path, port: int) -> Iterator[SystemdHost]:
    """Oriel installed on it as an operator does, with one desktop."""
    with booted(images_directory) as made:
        made.write(
            "/etc/systemd/system/oriel.socket.d/port.conf",
            f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n",
        )
        # Nothing is made ahead: what other desktops do is other tests' matter.
        (made.home / "oriel.toml").write_text("pool_size = 0\nkeep_templates = false\n")
        print(made.run(str(ROOT / "scripts/install"), "--as-is").stderr)
        made.run("oriel", "create", "work", "--runtime", "container", "--proxy", "none", timeout=600)
        yield made


def keeper(host: SystemdHost) -> int:
    """The pid of the desktop's keeper; those of desktops made ahead are others."""
    desktop = json.loads(host.run("oriel", "show", "work", "--json").stdout)["id"]
    return _keeper_of(host, desktop)


def _keeper_of(host: SystemdHost, desktop: str) -> int:
    return int(host.run("pgrep", "-f", f"oriel.keeper --home .* {desktop}").stdout)


def until(what: Callable[[], bool]) -> None:
    """systemd restarts what ended after a second; its own word for that is no event of ours."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def works(host: SystemdHost) -> bool:
    """The desktop runs, and a command in it does."""
    assert json.loads(host.run("oriel", "show", "work", "--json").stdout)["state"] == "running"
    return host.run("oriel", "exec", "work", "--", "echo", "hello").stdout == "hello\n"


def test_the_controller_holds_no_power(host: SystemdHost) -> None:
    pid = host.show("oriel.service", "MainPID")
    status = host.run("cat", f"/proc/{pid}/status").stdout
    words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    uid = host.run("id", "--user", "oriel").stdout.strip()
    assert set(words["Uid"].split()) == {uid}
    assert {int(words[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (words["NoNewPrivs"], words["Seccomp"]) == ("1", "2")
    for unit in ("oriel.service", "oriel-porter.service", "oriel-hostd.service"):
        told = host.run("systemd-analyze", "security", "--no-pager", unit).stdout
        print(told.splitlines()[-1])
        exposure = float(told.splitlines()[-1].split(":")[1].split()[0])
        assert exposure <= MOST_EXPOSED.get(unit, 10)


def test_a_keeper_is_in_a_scope_of_its_own(host: SystemdHost) -> None:
    groups = host.run("cat", f"/proc/{keeper(host)}/cgroup").stdout
    assert "/oriel.slice/oriel-keeper-d-" in groups
    assert "oriel-hostd.service" not in groups


def test_a_killed_controller_is_back_and_whoever_asks_meanwhile_waits(host: SystemdHost, port: int) -> None:
    before = host.show("oriel.service", "MainPID"), keeper(host)
    porter = host.show("oriel-porter.service", "MainPID")
    host.run("systemctl", "kill", "--signal=KILL", "oriel.service")
    answer = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert host.show("oriel.service", "MainPID") != before[0]
    assert host.show("oriel-porter.service", "MainPID") == porter != "0"
    assert keeper(host) == before[1]
    assert works(host)


def test_keepers_outlive_everything_above_them(host: SystemdHost) -> None:
    before = keeper(host)
    desktop = json.loads(host.run("oriel", "show", "work", "--json").stdout)["id"]
    old = host.show("oriel-hostd.service", "MainPID")
    host.run("systemctl", "kill", "--signal=KILL", "oriel-hostd.service")
    until(lambda: host.show("oriel-hostd.service", "MainPID") not in ("0", old))
    assert works(host)
    host.run("systemctl", "stop", "oriel.service", "oriel.socket", "oriel-hostd.service")
    assert _keeper_of(host, desktop) == before
    assert host.run("pgrep", "-f", "oriel.(controller|hostd) --home", check=False).stdout == ""
    host.run("systemctl", "start", "oriel")
    assert works(host)
    assert keeper(host) == before


def test_upgrade_and_rollback_leave_desktops_alone(host: SystemdHost) -> None:
    before, release = keeper(host), host.run("readlink", "/opt/oriel/current").stdout
    source = "/srv/next"
    host.run("mkdir", source)
    parts = (
        "src",
        "guest",
        "recipes",
        "deploy",
        "scripts",
        "requirements.txt",
        "CHANGELOG.md",
        ".venv",
        "web",
    )
    for part in parts:
        (host.run("cp", "-a", str(ROOT / part), source) if part not in (".venv", "web") else
         host.run("ln", "-s", str(ROOT / part), source))  # fmt: skip
    host.run("sh", "-c", f"echo '# newer' >> {source}/src/oriel/__init__.py")
    host.run(f"{source}/scripts/install", "--as-is")
    upgraded = host.run("readlink", "/opt/oriel/current").stdout
    assert upgraded != release
    assert list((host.home / "backups").iterdir())
    assert keeper(host) == before
    assert works(host)

    host.run("sh", "-c", f"echo 'raise SystemExit(3)' >> {source}/src/oriel/controller/app.py")
    failed = host.run(f"{source}/scripts/install", "--as-is", check=False)
    assert failed.returncode == 1
    assert "does not start" in failed.stderr
    assert host.run("readlink", "/opt/oriel/current").stdout == upgraded
    assert works(host)

    told = json.loads(host.run("oriel", "renew", "--json").stdout)
    assert told["renewed"]
    assert not told["problems"]
    renewed = keeper(host)
    assert renewed != before
    assert upgraded.strip() in host.run("cat", f"/proc/{renewed}/cmdline").stdout
    assert works(host)

    host.run(f"{source}/scripts/install", "--rollback")
    assert host.run("readlink", "/opt/oriel/current").stdout == release
    assert keeper(host) == renewed
    assert works(host)


def test_the_hosts_journal_never_holds_a_proxys_password(host: SystemdHost) -> None:
    """Added, tried, used, refused and told of: in everything that every unit has said."""
    password = secrets.token_urlsafe(24)
    with socket.create_server(("127.0.0.1", 0)) as free:
        upstream = f"127.0.0.1:{free.getsockname()[1]}"  # nobody answers there once this is closed
    host.run("oriel", "proxy", "add", "canary", stdin=f"http://ann:{password}@{upstream}\n")
    host.run("oriel", "proxy", "check", "canary", check=False)
    host.run("oriel", "proxy", "assign", "canary", "work")
    asked = host.run("oriel", "exec", "work", "--", "curl", "-sS", "http://origin.test/", check=False)
    assert upstream.split(":")[1] not in asked.stdout, "the guest learns nothing of its proxy"
    host.run("systemctl", "restart", "oriel.service")
    assert works(host)
    said = host.run("journalctl", "--no-pager", "--output=export").stdout
    assert "/v1/proxies" in said, "the requests are in it"
    basic = base64.b64encode(f"ann:{password}".encode()).decode()
    assert not [word for word in (password, basic) if word in said]


def test_a_shutdown_stops_desktops_in_order(host: SystemdHost) -> None:
    desktop = json.loads(host.run("oriel", "show", "work", "--json").stdout)["id"]
    host.power_off()
    paths = Home(host.home).desktop(desktop)
    assert str(read_ledger(paths.journal).state) == "stopped"
    assert paths.disk_image.exists()
