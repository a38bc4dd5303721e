"""The link's life: made anew, removed twice, torn by a kill -9, entered by a thread."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.host.namespaces import NetnsSockets, list_netns, netns_mounted
from oriel.model.errors import HostError, UnavailableError
from oriel.model.link import GATEWAY_ADDRESS, PROXY_PORT
from oriel.model.spec import Runtime
from oriel.network.link import link_of, make_link, open_gateway_sockets, remove_link

NAMESPACE = Path("/proc/thread-self/ns/net")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def desktop_id() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root: run ./test as root")
    made = "d-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    yield made
    asyncio.run(remove_link(made))
    assert list_netns(f"oriel-{made}") == []


@pytest.mark.parametrize("runtime", [Runtime.CONTAINER, Runtime.QEMU])
def test_making_again_replaces_and_removing_again_is_nothing(desktop_id: str, runtime: Runtime) -> None:
    async def scenario() -> None:
        first = await make_link(desktop_id, runtime, 200_001)
        inode = first.netns.stat().st_ino
        assert await make_link(desktop_id, runtime, 200_001) == first == link_of(desktop_id, runtime)
        assert netns_mounted(first.netns)
        assert first.netns.stat().st_ino != inode
        await remove_link(desktop_id)
        await remove_link(desktop_id)
        assert not netns_mounted(first.netns)

    asyncio.run(scenario())


@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.006, 0.01, 0.02])
def test_a_link_torn_by_kill_minus_nine_is_removed_whole_and_made_again(
    desktop_id: str, after_s: float
) -> None:
    program = (
        "import asyncio, sys; from oriel.network.link import make_link; "
        "from oriel.model.spec import Runtime; print(flush=True); "
        "asyncio.run(make_link(sys.argv[1], Runtime.CONTAINER, 0))"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program, desktop_id],
        stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": "src", "PATH": os.environ["PATH"]},
        start_new_session=True,
    )  # fmt: skip
    assert maker.stdout is not None
    with maker.stdout as said:
        said.readline()
        try:
            maker.wait(after_s)  # not a wait for anything: where the crash hits
        except subprocess.TimeoutExpired:
            os.killpg(maker.pid, signal.SIGKILL)  # with the `ip` that it may have started
            maker.wait()

    async def scenario() -> None:
        await remove_link(desktop_id)
        assert list_netns(f"oriel-{desktop_id}") == []
        await make_link(desktop_id, Runtime.CONTAINER, 0)
        await remove_link(desktop_id)

    asyncio.run(scenario())


def test_a_torn_namespace_file_is_no_namespace(desktop_id: str) -> None:
    async def scenario() -> None:
        path = link_of(desktop_id, Runtime.QEMU).netns
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert not netns_mounted(path)
        with pytest.raises(HostError, match="no network namespace"):
            await NetnsSockets.open(path)
        await make_link(desktop_id, Runtime.QEMU, 0)
        assert netns_mounted(path)
        await remove_link(desktop_id)

    asyncio.run(scenario())


def test_the_gateways_ports_are_taken_once(desktop_id: str) -> None:
    async def scenario() -> None:
        link = await make_link(desktop_id, Runtime.CONTAINER, 0)
        assert link.guest_netns is not None
        inside, guest = await NetnsSockets.open(link.netns), await NetnsSockets.open(link.guest_netns)
        first = await open_gateway_sockets(inside)
        with pytest.raises(HostError, match=r"192\.168\.0\.1:\d+ in the namespace: Address already in use"):
            await open_gateway_sockets(inside)
        first.close()
        with pytest.raises(UnavailableError, match="Connection refused"):
            await guest.connect(GATEWAY_ADDRESS, PROXY_PORT)
        second = await open_gateway_sockets(inside)
        _, writer = await guest.connect(GATEWAY_ADDRESS, PROXY_PORT)
        connection, peer = await asyncio.get_running_loop().sock_accept(second.proxy)
        assert peer[0] == "192.168.0.2"
        connection.close()
        writer.close()
        await writer.wait_closed()
        second.close()
        inside.close()
        inside.close()
        guest.close()
        await remove_link(desktop_id)

    asyncio.run(scenario())


def test_the_main_thread_never_leaves_its_namespace(desktop_id: str) -> None:
    async def scenario() -> None:
        before = NAMESPACE.readlink()
        link = await make_link(desktop_id, Runtime.QEMU, 0)
        inside = await NetnsSockets.open(link.netns)
        assert await inside.call(NAMESPACE.readlink) != before
        assert NAMESPACE.readlink() == before
        inside.close()
        await remove_link(desktop_id)

    asyncio.run(scenario())
