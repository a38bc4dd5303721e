"""Whether Firecracker works here: proven by a kernel that came up in it, jailed exactly as a desktop's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from oriel.host import process
from oriel.host.mounts import enter_private_mounts
from oriel.host.slots import process_uid
from oriel.host.threads import DedicatedThread, in_thread
from oriel.machine.driver import ImageFiles, Probe
from oriel.machine.firecracker import calls
from oriel.machine.firecracker.command import jailer_argv, kernel_command_line
from oriel.machine.firecracker.jail import Jail
from oriel.machine.firecracker.release import Release
from oriel.machine.trial import KVM_DEVICE, UNUSED_SLOT, WORD, heard, started
from oriel.model.errors import OrielError
from oriel.model.spec import Isolation

__all__ = ["probe"]

KERNEL = b"Linux version"  # a kernel's first words
SILENCE_S = 10  # a kernel that runs says its next word sooner, also in a machine in a machine
BOOT_DEADLINE_S = 90
NEEDED = ("ip", "nft", "nsenter", "resize2fs", "e2fsck")
PACKAGES = "apt install iproute2 nftables e2fsprogs util-linux"
KVM_HINT = "use a host with hardware virtualization (or nested virtualization switched on)"
FILTERED = "2"  # proc(5): Seccomp of a thread with a filter


@dataclass
class _Trial:
    """What a test boot showed."""

    said: bytes = b""
    unfiltered: bool = False
    ended: bool = False

    @property
    def came_up(self) -> bool:
        return WORD in self.said

    @property
    def last_words(self) -> str:
        if self.ended:
            lines = self.said.decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else "it said nothing"
        if KERNEL in self.said:
            return f"its kernel runs, but got no further in {SILENCE_S} s"
        return f"its kernel said nothing in {SILENCE_S} s"


async def probe(find: Callable[[], Awaitable[Release]], image: ImageFiles | None) -> Probe:
    """Check the programs, and with an image boot its kernel for at most 90 s, 10 of them in silence.

    Leaves nothing; never raises.
    """
    if os.geteuid() != 0:
        return _no("virtual machines need root", "run hostd as root")
    try:
        release = await find()
    except OrielError as error:
        return _no(error.message, error.hint)
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return _no(f"not installed: {', '.join(missing)}", PACKAGES)
    if not await in_thread(Path("/dev/net/tun").exists):
        return _no("the host has no /dev/net/tun", "modprobe tun, as root")
    if not await in_thread(KVM_DEVICE.exists):
        return _no("there is no /dev/kvm", KVM_HINT)
    if image is None:
        return _no(f"version {release.version} was not tried, for want of an image", "build an image")
    try:
        trial = await _try(release, image)
    except OrielError as error:
        return _no(error.message, error.hint)
    if not trial.came_up:
        detail = f"a test boot of version {release.version} did not come up: {trial.last_words}"
        return _no(detail, KVM_HINT)
    if trial.unfiltered:
        hint = "take the release build: only its programs filter system calls (seccomp)"
        return Probe(True, Isolation.VM, f"version {release.version} boots, but without a filter", hint)
    return Probe(True, Isolation.VM, f"a test boot of version {release.version} came up")


def _no(detail: str, hint: str) -> Probe:
    return Probe(False, Isolation.VM, detail, hint)


async def _try(release: Release, image: ImageFiles) -> _Trial:
    with tempfile.TemporaryDirectory(prefix="oriel-probe-", dir="/var/tmp") as scratch:
        jail, uid = Jail(Path(scratch), f"probe-{os.getpid()}"), process_uid(UNUSED_SLOT)
        await in_thread(lambda: jail.make(uid))
        config = jail.path("/trial.json")
        await in_thread(
            lambda: config.write_text(
                json.dumps(calls.trial(kernel_command_line("oriel.probe=1", loud=True)))
            )
        )
        config.chmod(0o644)
        argv = jailer_argv(
            jailer=release.jailer, firecracker=release.firecracker, name=jail.name, uid=uid,
            base=jail.base, netns=None, options=["--no-api", "--config-file", "/trial.json"],
        )  # fmt: skip
        inside = await DedicatedThread.open("mounts of a probe", enter_private_mounts)
        try:
            await inside.call(lambda: jail.show({calls.KERNEL: image.elf_kernel, calls.INITRD: image.initrd}))
            return await _boot(argv, inside)
        finally:
            await in_thread(inside.close)


async def _boot(argv: list[str | Path], inside: DedicatedThread) -> _Trial:
    """What it says until it says WORD, ends, falls silent, or has had its time."""
    trial = _Trial()
    async with (
        started(lambda log: inside.call_now(lambda: process.spawn(argv, log=log))) as (pid, console),
        contextlib.aclosing(heard(console, deadline_s=BOOT_DEADLINE_S, silence_s=SILENCE_S)) as words,
    ):
        async for word in words:
            trial.said += word
            trial.ended = not word
            if KERNEL in word:  # the machine runs: every thread has its filter by now
                trial.unfiltered = _unfiltered(pid)
            if trial.came_up:
                break
    return trial


def _unfiltered(pid: int) -> bool:
    """Whether a thread of the process may make any system call."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in status.read_text().splitlines():
                if line.startswith("Seccomp:") and line.split()[1] != FILTERED:
                    return True
    return False
