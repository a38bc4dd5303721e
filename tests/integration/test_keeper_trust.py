"""What a keeper keeps to itself: who may ask, what it could do, where secrets are, and its gateway's life."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oriel.host.accounts import oriel_account
from oriel.host.layout import Home, netns_name
from oriel.host.privileges import bounding_set
from oriel.keeper.main import NEVER_NEEDED
from tests.integration.hosts import until_gone
from tests.integration.keepers import Keeper, kept, new_spec
from tests.integration.test_keeper_life import home, run

__all__ = ["home"]  # the fixture

CANARY = "c4nary-pa55word"
UPSTREAM = f"http://someone:{CANARY}@203.0.113.7:8080"
NOBODY = 65534

ASK = """
import asyncio, os, sys
from pathlib import Path
from oriel.model import wire
from oriel.model.errors import OrielError
uid, gid = int(sys.argv[2]), int(sys.argv[3])
os.setgroups([]), os.setresgid(gid, gid, gid), os.setresuid(uid, uid, uid)
try:
    print(asyncio.run(wire.call(wire.unix(Path(sys.argv[1])), "hello"))["state"])
except OrielError as error:
    print(error.code, error.message)
"""


def ask_as(keeper: Keeper, uid: int, gid: int) -> str:
    result = subprocess.run(
        ["/usr/bin/python3", "-c", ASK, keeper.paths.keeper_socket, str(uid), str(gid)],
        capture_output=True, text=True, timeout=20, check=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")},
    )  # fmt: skip
    return result.stdout.strip()


def gateway_of(keeper: Keeper) -> int:
    return next(e.data["pid"] for e in reversed(keeper.events()) if e.kind == "gateway.started")


def test_only_root_and_the_controllers_user_may_ask(home: Home) -> None:
    async def scenario() -> None:
        for parent in (home.root, *home.root.parents[:2]):
            parent.chmod(0o755)
        async with kept(home, new_spec()) as keeper:
            oriel = oriel_account()
            assert keeper.paths.keeper_socket.stat().st_mode & 0o777 == 0o660
            assert keeper.paths.keeper_socket.stat().st_gid == oriel.gid
            assert await asyncio.to_thread(ask_as, keeper, oriel.uid, oriel.gid) == "creating"
            # In the group, and so past the file's mode: the peer's own uid decides.
            said = await asyncio.to_thread(ask_as, keeper, NOBODY, oriel.gid)
            assert said == "forbidden only root and the user oriel may ask here"
            said = await asyncio.to_thread(ask_as, keeper, NOBODY, NOBODY)
            assert said.startswith("unavailable")

    run(scenario)


def test_what_a_keeper_never_needs_it_cannot_get(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            assert keeper.process is not None
            assert bounding_set(os.getpid()) >= {"sys_module", "sys_time"}
            assert bounding_set(keeper.process.pid).isdisjoint(NEVER_NEEDED)
            limits = Path(f"/proc/{keeper.process.pid}/limits").read_text()
            assert next(line for line in limits.splitlines() if "core file" in line).split()[4] == "0"
            status = Path(f"/proc/{gateway_of(keeper)}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert fields["Uid"].split() == [str(200_000 + keeper.events()[0].data["slot"])] * 4
            assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, 0, "1")
            # A filter of system calls over both, and the keeper's over the gateway's too.
            assert (fields["Seccomp"], fields["Seccomp_filters"]) == ("2", "2")
            own = Path(f"/proc/{keeper.process.pid}/status").read_text()
            assert "Seccomp:\t2\n" in own

    run(scenario)


def test_a_keeper_is_small(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            assert keeper.process is not None
            status = Path(f"/proc/{keeper.process.pid}/status").read_text()
            resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            assert resident < 35 * 1024

    run(scenario)


def test_an_upstreams_password_is_nowhere_but_in_memory(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("configure_egress", mode="proxy", proxy="berlin", upstreams=[UPSTREAM])
            await keeper.ask("start", deadline_s=30)
            told = await keeper.ask("inspect")
            assert (told["egress"]["mode"], told["egress"]["proxy"]) == ("proxy", "berlin")
            assert CANARY not in str(told)
            assert keeper.process is not None
            for file in keeper.paths.root.rglob("*"):
                if file.is_file():
                    assert CANARY.encode() not in file.read_bytes(), file
            for pid in (keeper.process.pid, gateway_of(keeper), told["machine"]["pid"]):
                for name in ("cmdline", "environ"):
                    assert CANARY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()

    run(scenario)


def test_a_dead_gateway_comes_back_and_follows_the_same_rules(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("configure_egress", mode="proxy", proxy="berlin", upstreams=[UPSTREAM])
            await keeper.ask("start", deadline_s=30)
            for _ in range(2):
                seq = (await keeper.ask("hello"))["seq"]
                os.kill(gateway_of(keeper), signal.SIGKILL)
                # How soon is a figure of bench.egress.
                await keeper.until_event("gateway.restarted", after=seq, deadline_s=50)
                assert (await keeper.ask("inspect"))["egress"]["proxy"] == "berlin"

    run(scenario)


def test_a_configuration_sent_while_the_gateway_is_down_arrives(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            os.kill(gateway_of(keeper), signal.SIGKILL)
            await keeper.ask("configure_egress", mode="direct")
            assert (await keeper.ask("inspect"))["egress"]["mode"] == "direct"

    run(scenario)


ASK_PROXY = """
import socket
with socket.create_connection(("192.168.0.1", 3128)) as sock:
    sock.sendall(b"CONNECT refused.test:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(sock.makefile().readline())
"""


def test_what_was_counted_stays_whoever_is_killed(home: Home) -> None:
    def ask(keeper: Keeper) -> None:
        inside = ["ip", "netns", "exec", netns_name(keeper.spec.id, guest=True), sys.executable]
        result = subprocess.run([*inside, "-c", ASK_PROXY], capture_output=True, text=True, timeout=50)
        assert " 403 " in result.stdout, result

    async def denials(keeper: Keeper) -> int:
        return int((await keeper.ask("inspect"))["egress"]["denied"])

    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            assert await denials(keeper) == 0
            await keeper.ask("start", deadline_s=30)
            await asyncio.to_thread(ask, keeper)
            assert await denials(keeper) == 1
            os.kill(gateway_of(keeper), signal.SIGKILL)
            await asyncio.to_thread(ask, keeper)  # it waits for the next one
            assert await denials(keeper) == 2
            keeper.kill()
            await keeper.launch()
            assert await denials(keeper) == 2
            await keeper.ask("stop", deadline_s=30)
            assert await denials(keeper) == 2
            await keeper.ask("start", deadline_s=30)
            await asyncio.to_thread(ask, keeper)
            assert await denials(keeper) == 3

    run(scenario)


def test_the_gateway_dies_with_its_keeper(home: Home) -> None:
    async def scenario() -> None:
        async with kept(home, new_spec()) as keeper:
            await keeper.ask("start", deadline_s=30)
            gateway = gateway_of(keeper)
            # Stopped, it cannot see that its control pair closed: it must not outlive its keeper even so.
            os.kill(gateway, signal.SIGSTOP)
            keeper.kill()
            await until_gone(gateway)
            await keeper.launch()
            assert (await keeper.ask("hello"))["state"] == "running"

    run(scenario)


def test_a_keeper_without_its_desktop_says_what_to_do(home: Home) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "oriel.keeper", "--home", home.root, "d-aaaaaaaaaa"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "is missing or damaged" in result.stderr
    with pytest.raises(FileNotFoundError):
        (home.root / "desktops").stat()
