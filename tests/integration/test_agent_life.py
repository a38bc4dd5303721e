"""The agent's coming and going: whom it serves, that it announces itself, what it is told to be."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from oriel.model import wire
from oriel.model.errors import InvalidError, NotFoundError, UnavailableError
from oriel.model.link import VNC_PORT
from tests.integration.agents import ROOT, Guest, free_port, running_agent

IDENTITY: dict[str, Any] = {
    "session_id": "session-1.A_b",
    "hostname": "desk-1",
    "machine_id": "0123456789abcdef" * 2,
    "entropy": base64.b64encode(bytes(range(64))).decode(),
    "screen": {"width": 1280, "height": 720},
}


def test_it_says_hello() -> None:
    with running_agent() as guest:
        answer = guest.call("hello")
        assert answer["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert answer["uptime_s"] > 0
        with pytest.raises(NotFoundError, match="no verb 'dance'"):
            guest.call("dance")


def test_only_the_allowed_address_is_served() -> None:
    with running_agent(options=("--allow", "127.0.0.9")) as guest:
        with pytest.raises(UnavailableError):
            guest.call("hello")

        async def as_the_gateway() -> dict[str, Any]:
            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return await asyncio.open_connection("127.0.0.1", guest.port, local_addr=("127.0.0.9", 0))

            return await wire.call(connect, "hello")

        assert asyncio.run(as_the_gateway())["version"]


def test_it_announces_itself_once_somebody_listens_and_then_no_more() -> None:
    port = free_port()
    with running_agent(options=("--announce", f"127.0.0.1:{port}")) as guest:
        assert guest.call("hello")["version"]  # it serves although nobody took the announcement
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b""
            listener.settimeout(1.5)
            with pytest.raises(TimeoutError):
                listener.accept()


def test_one_that_was_killed_announces_itself_again_when_it_is_started_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        options = ("--announce", f"127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(2):
            with running_agent(options=options) as guest:
                listener.accept()[0].close()
                guest.process.kill()
                guest.process.wait(5)


def test_term_ends_it_cleanly_and_its_commands_with_it() -> None:
    with running_agent() as guest:

        async def scenario() -> int:
            stream = await guest.stream("exec", argv=["sh", "-c", "trap '' HUP TERM; echo set; sleep 60"])
            assert await wire.read_frame(stream.reader) == (1, b"set\n")
            guest.process.terminate()
            await asyncio.to_thread(guest.process.wait, 10)
            await wire.close(stream.writer)
            return int(stream.result["pid"])

        pid = asyncio.run(scenario())
        assert guest.process.returncode == 0
        assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_identity_is_written_whole_and_again_without_change() -> None:
    with running_agent() as guest:
        (guest.root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 template\n")
        (guest.root / "var/lib/dbus").mkdir(parents=True)
        (guest.root / "var/lib/dbus/machine-id").write_text("f" * 32 + "\n")
        for _ in range(2):
            answer = guest.call("personalise", **IDENTITY, time_ns=time.time_ns())
            assert set(answer["skipped"]) == {"entropy", "clock", "hostname"}  # not the host's, here
            assert answer["screen"] == "later"
            etc = guest.root / "etc"
            assert (etc / "environment").read_text() == (
                'LANG=C.UTF-8\nMARK="from the file"\nSESSION_ID=session-1.A_b\n'
            )
            assert (etc / "hostname").read_text() == "desk-1\n"
            assert (etc / "machine-id").read_text() == "0123456789abcdef" * 2 + "\n"
            assert (etc / "hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 desk-1\n"
            assert (guest.root / "var/lib/dbus/machine-id").read_text() == (etc / "machine-id").read_text()
        assert guest.exec("printenv", "SESSION_ID").stdout == b"session-1.A_b\n"
        assert not list(guest.root.rglob("*.part"))


def test_a_bad_identity_changes_nothing_and_names_every_fault() -> None:
    with running_agent() as guest:
        before = (guest.root / "etc/environment").read_text()
        bad = {
            "session_id": "a b\nROOT=1", "hostname": "-Desk", "machine_id": "0" * 32, "entropy": "AAAA",
            "screen": {"width": 100, "height": 100_000, "depth": 24}, "extra": 1,
        }  # fmt: skip
        with pytest.raises(InvalidError) as caught:
            guest.call("personalise", **bad)
        assert {fault.field for fault in caught.value.faults} == {
            "session_id", "hostname", "machine_id", "time_ns", "entropy",
            "screen.width", "screen.height", "screen.depth", "extra",
        }  # fmt: skip
        assert (guest.root / "etc/environment").read_text() == before


def test_a_mounted_machine_id_is_written_in_place() -> None:
    """As a container's manager leaves it: the name cannot be replaced there."""
    with running_agent() as guest:
        target, source = guest.root / "etc/machine-id", guest.root / "mounted"
        target.write_text("")
        source.write_text("e" * 32 + "\nlonger than what replaces it\n")
        inside = ["nsenter", f"--mount=/proc/{guest.process.pid}/ns/mnt", "--"]
        subprocess.run([*inside, "mount", "--bind", source, target], check=True)
        guest.call("personalise", **IDENTITY, time_ns=time.time_ns())
        assert source.read_text() == "0123456789abcdef" * 2 + "\n"


def test_the_kernel_gets_name_and_entropy_where_it_may() -> None:
    """In a UTS namespace of its own. The clock is the host's and is left alone here."""
    program = """
import socket, sys
from agent.identity import parse_identity
from agent import kernel
kernel.set_clock = lambda identity: None
identity = parse_identity(eval(sys.argv[1]))
print(kernel.personalise_kernel(identity, container=True), socket.gethostname())
"""
    result = subprocess.run(
        ["unshare", "--uts", sys.executable, "-c", program, repr({**IDENTITY, "time_ns": time.time_ns()})],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/guest:{ROOT}/src"},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() in (
        "{'boot_id': 'each container has its own'} desk-1",
        "{'boot_id': 'each container has its own', 'entropy': 'a container shares it with its host'} desk-1",
    )
    assert socket.gethostname() != "desk-1"


def test_in_a_machine_a_refused_reseed_is_an_error() -> None:
    """Fail closed: without the capability, and not known to be a container."""
    program = """
import os, sys
from agent.identity import parse_identity
from agent import kernel
from oriel.model.errors import HostError
os.setresuid(65534, 65534, 65534)
try:
    kernel.personalise_kernel(parse_identity(eval(sys.argv[1])), container=False)
except HostError as error:
    print(error.message)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, repr({**IDENTITY, "time_ns": time.time_ns()})],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/guest:{ROOT}/src"},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "the desktop's kernel refused its entropy" in result.stdout, result.stderr


def test_connect_reaches_only_the_named_ports_and_carries_bytes_both_ways() -> None:
    async def scenario(guest: Guest, port: int) -> None:
        stream = await guest.stream("connect", port=port)
        sent = os.urandom(3_000_000)

        async def send() -> None:
            stream.writer.write(sent)
            await stream.writer.drain()
            stream.writer.write_eof()

        sending = asyncio.create_task(send())
        assert await stream.reader.read(-1) == sent
        await sending
        await wire.close(stream.writer)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        await wire.close(writer)

    async def everything() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        silent = free_port()
        with running_agent(options=("--connectable", str(port), "--connectable", str(silent))) as guest:
            await scenario(guest, port)
            with pytest.raises(InvalidError, match="port: must be one of"):
                await guest.stream("connect", port=VNC_PORT)
            with pytest.raises(UnavailableError, match=f"nothing answers on port {silent}"):
                await guest.stream("connect", port=silent)
        server.close()
        await server.wait_closed()

    asyncio.run(everything())


def test_a_host_without_systemd_says_so() -> None:
    with running_agent() as guest, pytest.raises(UnavailableError, match=r"systemd|systemctl"):
        guest.call("units")


def test_it_starts_quickly_and_without_the_display_s_library() -> None:
    """It runs in the first second of an emulated boot."""
    heavy = "Xlib", "argparse", "ctypes", "ssl"
    program = f"import sys, agent.__main__; print([name for name in {heavy} if sys.modules.get(name)])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/guest:{ROOT}/src"},
    )  # fmt: skip
    assert result.stdout.strip() == "[]"
