"""Whether virtual machines work here. KVM counts only once a kernel has come up under it.

There are hosts whose /dev/kvm opens, makes a machine and a processor, and then never runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from oriel.host import process
from oriel.host.process import ProcessId
from oriel.host.slots import process_uid
from oriel.machine.driver import ImageFiles, Probe
from oriel.machine.qemu.command import KVM, Board, confined, kernel_command_line, trial_argv
from oriel.machine.qemu.driver import KVM_DEVICE, kvm_groups
from oriel.model.spec import Isolation

__all__ = ["probe"]

BOOT_DEADLINE_S = 10  # a kernel under working KVM gets there in one
WORD = b"oriel-probe-ok"  # what the image's initrd prints when it finds `oriel.probe=1`
NEEDED = ("qemu-system-x86_64", "nsenter", "setpriv", "ip", "nft", "resize2fs", "e2fsck")
PACKAGES = "apt install qemu-system-x86 iproute2 nftables e2fsprogs util-linux"
UNUSED_SLOT = 0  # slots of desktops begin at 1
KVM_HINT = "for speed, use a host with hardware virtualization (or nested virtualization switched on)"


async def probe(image: ImageFiles | None) -> Probe:
    """Check the tools, and with an image boot its kernel under KVM, for at most 10 s. Never raises."""
    if os.geteuid() != 0:
        return Probe(False, Isolation.EMULATED_VM, "virtual machines need root", "run hostd as root")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return Probe(False, Isolation.EMULATED_VM, f"not installed: {', '.join(missing)}", PACKAGES)
    if not await asyncio.to_thread(Path("/dev/net/tun").exists):
        return Probe(False, Isolation.EMULATED_VM, "the host has no /dev/net/tun", "modprobe tun, as root")
    if not await asyncio.to_thread(KVM_DEVICE.exists):
        return Probe(True, Isolation.EMULATED_VM, "there is no /dev/kvm: full emulation", KVM_HINT)
    if image is None:
        return Probe(True, Isolation.EMULATED_VM, "KVM was not tried, for want of an image", "build an image")
    return await _try_kvm(image)


async def _try_kvm(image: ImageFiles) -> Probe:
    for_all = bool(KVM_DEVICE.stat().st_mode & 0o006)
    ours = for_all or bool(kvm_groups())
    # Where only root may open it, root tries: so that the operator learns whether it is worth opening.
    said = await _boot(image, process_uid(UNUSED_SLOT) if ours else 0)
    if WORD not in said:
        words = said.decode(errors="replace").strip().splitlines()
        detail = f"a test boot under KVM said nothing in {BOOT_DEADLINE_S} s" if not words else words[-1]
        return Probe(True, Isolation.EMULATED_VM, f"/dev/kvm is there, but unusable: {detail}", KVM_HINT)
    if not ours:
        hint = "chgrp kvm /dev/kvm && chmod 660 /dev/kvm"
        return Probe(True, Isolation.EMULATED_VM, "KVM works, but its device is for root alone", hint)
    return Probe(True, Isolation.VM, "a test boot under KVM came up")


async def _boot(image: ImageFiles, uid: int) -> bytes:
    """What a kernel under KVM prints until it says WORD, ends, or has had BOOT_DEADLINE_S."""
    board = Board(
        name="probe", vcpus=1, memory_mib=256, accelerator=KVM, append=kernel_command_line("oriel.probe=1")
    )
    with _opened(image) as (kernel, initrd), _pipe() as (output, writer):
        argv = confined(
            trial_argv(board, kernel, initrd), netns=Path("/proc/self/ns/net"), uid=uid, groups=kvm_groups()
        )
        child = process.spawn(argv, log=writer, pass_fds=(kernel, initrd))
        os.close(writer)
        try:
            return await _listen(output)
        finally:
            identity = ProcessId.of(child.pid)
            if identity is not None:
                await process.end(identity, deadline_s=1, first=signal.SIGKILL)
            child.wait()


async def _listen(output: int) -> bytes:
    said = b""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(output), "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOT_DEADLINE_S):
                while WORD not in said and (data := await reader.read(4096)):
                    said += data
    finally:
        transport.close()
    return said


@contextlib.contextmanager
def _opened(image: ImageFiles) -> Iterator[tuple[int, int]]:
    with image.kernel.open("rb") as kernel, image.initrd.open("rb") as initrd:
        yield kernel.fileno(), initrd.fileno()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """A pipe; the caller closes its writing end."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
