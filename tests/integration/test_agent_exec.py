"""`exec`: exit codes, streams, terminals, time-outs and callers that vanish, with a real agent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.model import wire
from oriel.model.errors import InvalidError, NotFoundError
from tests.integration.agents import NO_DISPLAY, UID, Guest, read_outcome, running_agent


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with running_agent() as made:
        yield made


def test_the_commands_own_status_and_both_outputs_come_back(guest: Guest) -> None:
    outcome = guest.exec("sh", "-c", "echo out; echo err >&2; exit 42")
    assert (outcome.stdout, outcome.stderr, outcome.exit) == (b"out\n", b"err\n", {"exit_code": 42})
    assert outcome.channels[-1] == 3


def test_it_runs_as_the_user_with_the_environment_of_a_login(guest: Guest) -> None:
    values = guest.exec("env", env={"EXTRA": "given"}).stdout.decode().splitlines()
    environment = dict(line.split("=", 1) for line in values)
    assert environment["MARK"] == "from the file"
    assert environment["EXTRA"] == "given"
    assert environment["HOME"] == str(guest.home)
    assert environment["USER"] == environment["LOGNAME"] == "user"
    assert environment["SHELL"] == "/bin/bash"
    assert environment["DISPLAY"] == NO_DISPLAY
    assert guest.exec("sh", "-c", "id -u; id -G; pwd").stdout.decode().split() == [
        str(UID), str(UID), str(guest.home),
    ]  # fmt: skip


def test_a_changed_environment_file_counts_for_the_next_command(guest: Guest) -> None:
    path = guest.root / "etc/environment"
    before = path.read_text()
    try:
        path.write_text(before + "LATER=yes\n")
        assert guest.exec("printenv", "LATER").stdout == b"yes\n"
    finally:
        path.write_text(before)


def test_root_is_allowed_when_asked_for(guest: Guest) -> None:
    assert guest.exec("sh", "-c", "id -u; pwd", user="root").stdout == b"0\n/root\n"


def test_a_relative_directory_is_under_the_home(guest: Guest) -> None:
    guest.exec("mkdir", "-p", "work")
    assert guest.exec("pwd", cwd="work").stdout.decode() == f"{guest.home}/work\n"
    with pytest.raises(NotFoundError, match="no directory"):
        guest.exec("pwd", cwd="absent")


def test_a_missing_program_is_127_and_one_that_cannot_run_126(guest: Guest) -> None:
    missing = guest.exec("no-such-program")
    assert missing.exit == {"exit_code": 127}
    assert missing.stderr == b"no-such-program: command not found\n"
    assert missing.pid == 0
    guest.exec("sh", "-c", "echo data > plain; chmod 644 plain")
    assert guest.exec("./plain").exit == {"exit_code": 126}
    assert guest.exec(str(guest.home)).exit == {"exit_code": 126}


def test_a_signal_is_128_and_its_number(guest: Guest) -> None:
    assert guest.exec("sh", "-c", "kill -9 $$").exit == {"exit_code": 137, "signal": "SIGKILL"}


def test_all_faults_of_a_request_are_told_together(guest: Guest) -> None:
    with pytest.raises(InvalidError) as caught:
        guest.exec("", cwd=5, env={"A=B": "x"}, user="www-data", timeout_s=-1, tty={"rows": 0}, nonsense=1)
    assert {fault.field for fault in caught.value.faults} == {
        "argv", "cwd", "env", "user", "timeout_s", "tty.rows", "nonsense",
    }  # fmt: skip


def test_a_large_input_comes_back_whole_through_cat(guest: Guest) -> None:
    """Both directions at once, with back-pressure: far more than any buffer holds."""
    block = os.urandom(1 << 20)
    count = 64

    async def scenario() -> None:
        stream = await guest.stream("exec", argv=["cat"])

        async def send() -> None:
            for _ in range(count):
                await wire.write_frame(stream.writer, 0, block)
            await wire.write_frame(stream.writer, 0, b"")

        sending = asyncio.create_task(send())
        digest, size, last = hashlib.sha256(), 0, (0, b"")
        while frame := await wire.read_frame(stream.reader):
            last = frame
            if frame[0] == 1:
                digest.update(frame[1])
                size += len(frame[1])
        await sending
        await wire.close(stream.writer)
        assert size == count << 20
        assert digest.digest() == hashlib.sha256(block * count).digest()
        assert last == (3, b'{"exit_code": 0}')

    asyncio.run(scenario())


def test_an_output_of_hundreds_of_megabytes_takes_no_memory(guest: Guest) -> None:
    async def scenario() -> int:
        stream = await guest.stream("exec", argv=["head", "-c", "400000000", "/dev/zero"])
        size = 0
        while frame := await wire.read_frame(stream.reader):
            size += len(frame[1]) if frame[0] == 1 else 0
        await wire.close(stream.writer)
        return size

    assert asyncio.run(scenario()) == 400_000_000
    assert peak_mib(guest.process.pid) < 120


def test_a_slow_caller_slows_the_program_down(guest: Guest) -> None:
    """`yes` could write for ever: while nobody reads, it must stand still and the agent must not grow."""

    async def scenario() -> None:
        stream = await guest.stream("exec", argv=["yes"])
        pid = stream.result["pid"]
        await stalled(pid)
        assert peak_mib(guest.process.pid) < 120
        await wire.close(stream.writer)
        await gone(pid)

    asyncio.run(scenario())


def test_background_children_do_not_hold_up_the_end(guest: Guest) -> None:
    started = time.monotonic()
    outcome = guest.exec("sh", "-c", "sleep 30 & echo $!; exit 5")
    assert outcome.exit == {"exit_code": 5}
    assert time.monotonic() - started < 10
    left = int(outcome.stdout)
    assert Path(f"/proc/{left}").exists()  # as with any shell, it lives on
    guest.exec("kill", str(left))


def test_a_timeout_ends_the_whole_session(guest: Guest) -> None:
    outcome = guest.exec("bash", "-c", "trap '' TERM; sleep 60 & echo $!; wait; sleep 60", timeout_s=0.3)
    assert outcome.exit == {"exit_code": 137, "signal": "SIGKILL", "timed_out": True}
    asyncio.run(gone(int(outcome.stdout)))  # its child, too


def test_a_caller_that_vanishes_takes_every_process_of_the_session_along(guest: Guest) -> None:
    """Also those in process groups of their own (job control) and those deaf to HUP."""
    script = "set -m; sleep 60 & echo $!; (trap '' HUP; sleep 60) & echo $!; wait"

    async def scenario() -> None:
        stream = await guest.stream("exec", argv=["bash", "-c", script])
        pids = [stream.result["pid"]]
        text = b""
        while text.count(b"\n") < 2:
            frame = await wire.read_frame(stream.reader)
            assert frame is not None
            text += frame[1]
        pids += [int(line) for line in text.split()]
        stream.writer.transport.abort()
        for pid in pids:
            await gone(pid)

    asyncio.run(scenario())


def test_a_caller_that_vanishes_is_noticed_while_its_input_is_stuck(guest: Guest) -> None:
    """The program reads nothing, pipe and buffers are full: the end of the connection still counts."""

    async def scenario() -> None:
        stream = await guest.stream("exec", argv=["sleep", "60"])
        for _ in range(64):  # MiB, far more than fits; not waited for
            stream.writer.write(b"\0\0\x10\0\0" + bytes(1 << 20))
        stream.writer.transport.abort()
        await gone(stream.result["pid"])

    asyncio.run(scenario())


def test_input_that_nobody_reads_any_more_is_no_error(guest: Guest) -> None:
    outcome = guest.exec("true", stdin=bytes(8 << 20))
    assert outcome.exit == {"exit_code": 0}


def test_a_signal_frame_reaches_the_program(guest: Guest) -> None:
    async def scenario() -> dict[str, object]:
        # A shell looks at its traps between two commands: these are short.
        script = "trap 'echo caught; exit 7' INT; echo set; while :; do sleep 0.1; done"
        stream = await guest.stream("exec", argv=["sh", "-c", script])
        assert await wire.read_frame(stream.reader) == (1, b"set\n")
        await wire.write_frame(stream.writer, 5, json.dumps({"signal": "INT"}).encode())
        outcome = await read_outcome(stream)
        await wire.close(stream.writer)
        assert outcome.stdout == b"caught\n"
        return outcome.exit

    assert asyncio.run(scenario()) == {"exit_code": 7}


def test_a_terminal_is_real_and_follows_its_size(guest: Guest) -> None:
    """Job control, echo, size and its change, ^C and ^D: as in a terminal's window."""

    async def scenario() -> None:
        tty = {"rows": 30, "cols": 100, "term": "xterm"}
        argv = ["bash", "--norc", "--noprofile", "-i"]
        stream = await guest.stream("exec", argv=argv, tty=tty, env={"PS1": "> "})
        seen = Seen(stream)
        await seen.until(b"> ")
        await seen.type(b"stty size; echo $TERM; tty | head -c 9; echo\n")
        await seen.until(b"30 100\r\nxterm\r\n/dev/pts/\r\n")
        await wire.write_frame(stream.writer, 4, json.dumps({"rows": 40, "cols": 120}).encode())
        await seen.type(b"stty size\n")
        await seen.until(b"40 120\r\n")
        # A ^C that comes before the shell has handed the terminal over would reach nobody.
        await seen.type(b"sh -c 'echo $((6 * 7)) goes; exec sleep 60'\n")
        await seen.until(b"42 goes\r\n")
        await seen.type(b"\x03")
        await seen.until(b"^C")
        await seen.until(b"> ")  # before its prompt the shell throws away what was typed behind a ^C
        await seen.type(b"echo code $?\n")
        await seen.until(b"code 130")
        await seen.type(b"exit 9\n")
        outcome = await read_outcome(stream)
        await wire.close(stream.writer)
        assert outcome.exit == {"exit_code": 9}

    asyncio.run(scenario())


def test_everything_written_to_a_terminal_arrives_before_the_end(guest: Guest) -> None:
    outcome = guest.exec("seq", "1", "20000", tty={"rows": 24, "cols": 80})
    assert outcome.stdout.split() == [str(number).encode() for number in range(1, 20001)]
    assert outcome.channels[-1] == 3


def test_a_command_missing_on_a_terminal_is_127_too(guest: Guest) -> None:
    assert guest.exec("no-such-program", tty={}).exit == {"exit_code": 127}


def test_many_commands_at_once_do_not_mix(guest: Guest) -> None:
    async def one(number: int) -> bytes:
        stream = await guest.stream(
            "exec", argv=["sh", "-c", f"echo {number}; seq 1 500 | tail -1; echo {number}"]
        )
        outcome = await read_outcome(stream)
        await wire.close(stream.writer)
        return outcome.stdout

    async def scenario() -> list[bytes]:
        return await asyncio.gather(*(one(number) for number in range(20)))

    assert asyncio.run(scenario()) == [f"{number}\n500\n{number}\n".encode() for number in range(20)]


def test_a_broken_frame_ends_the_command(guest: Guest) -> None:
    async def scenario() -> None:
        stream = await guest.stream("exec", argv=["sleep", "60"])
        await wire.write_frame(stream.writer, 9, b"what?")
        await gone(stream.result["pid"])
        await wire.close(stream.writer)

    asyncio.run(scenario())


class Seen:
    """A terminal's output so far."""

    def __init__(self, stream: wire.Stream) -> None:
        self._stream = stream
        self._text = b""

    async def type(self, keys: bytes) -> None:
        await wire.write_frame(self._stream.writer, 0, keys)

    async def until(self, wanted: bytes) -> None:
        """Read on until `wanted` was written; what came before it is done with."""
        async with asyncio.timeout(20):
            while wanted not in self._text:
                frame = await wire.read_frame(self._stream.reader)
                assert frame is not None, self._text
                self._text += frame[1]
        self._text = self._text.partition(wanted)[2]


async def gone(pid: int) -> None:
    """Until a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


async def stalled(pid: int) -> None:
    """Until a process sleeps in a write to its full pipe, seen twice in a row with nothing done between."""
    before = ""
    async with asyncio.timeout(20):
        while True:
            now = Path(f"/proc/{pid}/stat").read_text()
            if now == before and now.rpartition(")")[2].split()[0] == "S":
                return
            before = now
            await asyncio.sleep(0.2)


def peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
