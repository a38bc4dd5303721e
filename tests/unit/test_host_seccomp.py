"""Filters of system calls: their programs run on calls that are made up, and one put over a real process."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from oriel.host.seccomp import (
    ALLOW,
    ANY_BIT,
    ARCHITECTURES,
    AT_ARCHITECTURE,
    AT_FIRST_ARGUMENT,
    AT_LEAST,
    AT_NUMBER,
    CALLS,
    CLOSED,
    EQUAL,
    KILL,
    LOAD,
    NO_PROCESSES,
    REFUSE,
    RETURN,
    Step,
    program,
)
from oriel.model.errors import HostError

EPERM = REFUSE | errno.EPERM


def decide(steps: list[Step], architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel would answer: classic BPF over one call."""
    data = {AT_NUMBER: number, AT_ARCHITECTURE: architecture, AT_FIRST_ARGUMENT: argument}
    held, at = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == RETURN:
            return value
        if code == LOAD:
            held = data[value]
            continue
        held_is = {EQUAL: held == value, AT_LEAST: held >= value, ANY_BIT: bool(held & value)}[code]
        at += yes if held_is else no


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_is_refused_is_and_nothing_else(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    for refused in (CLOSED, NO_PROCESSES):
        steps = program(refused, machine)
        numbers = {CALLS[name][column] for name in refused} - {None}
        assert len(numbers) > 10
        for number in range(460):
            expected = EPERM if number in numbers else ALLOW
            assert decide(steps, architecture, number) == expected, number


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_one_that_is_alone_makes_threads_and_no_processes(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    steps = program(NO_PROCESSES, machine, alone=True)
    clone, clone3, socket = (CALLS[name][column] or 0 for name in ("clone", "clone3", "socket"))
    assert decide(steps, architecture, clone, 0x003D0F00) == ALLOW, "as the C library makes a thread"
    assert decide(steps, architecture, clone, 0x01200011) == EPERM, "as it forks"
    assert decide(steps, architecture, clone3) == REFUSE | errno.ENOSYS
    families = {1: ALLOW, 2: ALLOW, 10: ALLOW, 16: ALLOW, 17: REFUSE | errno.EAFNOSUPPORT}
    assert {family: decide(steps, architecture, socket, family) for family in families} == families


def test_other_ways_to_say_a_call_are_closed() -> None:
    steps = program(NO_PROCESSES, "x86_64")
    assert decide(steps, 0x40000003, 11) == KILL, "i386: its execve"
    assert decide(steps, 0xC000003E, 0x40000000 + 520) == EPERM, "x32: its execve"
    with pytest.raises(HostError):
        program(NO_PROCESSES, "sparc64")


SCRIPT = """
import asyncio, ctypes, os, socket, subprocess, threading
from oriel.host.seccomp import NO_PROCESSES, confine
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
confine(NO_PROCESSES, alone=True)

def refused(work, *kinds):
    try:
        work()
    except kinds:
        return
    raise SystemExit(f"{work} was let through")

refused(os.fork, PermissionError)
refused(lambda: subprocess.run(["/usr/bin/true"]), PermissionError)
refused(lambda: os.execv("/usr/bin/true", ["true"]), PermissionError)
refused(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM), OSError)
refused(lambda: os.chroot("/"), PermissionError)
thread = threading.Thread(target=lambda: print("a thread"))
thread.start(); thread.join()
print(asyncio.run(asyncio.wait_for(asyncio.to_thread(socket.getaddrinfo, "127.0.0.1", 80), 60))[0][4])
"""


def test_a_real_process_under_it() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["a thread", "('127.0.0.1', 80)"]
