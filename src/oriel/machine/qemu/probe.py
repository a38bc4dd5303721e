"""Whether virtual machines work here. KVM counts only once a kernel has come up under it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from oriel.host import process
from oriel.host.slots import process_uid
from oriel.machine.driver import ImageFiles, Probe
from oriel.machine.qemu.command import KVM, Board, confined, kernel_command_line, trial_argv
from oriel.machine.qemu.driver import kvm_groups
from oriel.machine.trial import KVM_DEVICE, UNUSED_SLOT, WORD, heard, started
from oriel.model.spec import Isolation

__all__ = ["probe"]

BOOT_DEADLINE_S = 10  # a kernel under working KVM gets there in one
NEEDED = ("qemu-system-x86_64", "nsenter", "setpriv", "ip", "nft", "resize2fs", "e2fsck")
PACKAGES = "apt install qemu-system-x86 iproute2 nftables e2fsprogs util-linux"
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
    said = b""
    with image.kernel.open("rb") as kernel, image.initrd.open("rb") as initrd:
        files = (kernel.fileno(), initrd.fileno())
        argv = confined(
            trial_argv(board, *files), netns=Path("/proc/self/ns/net"), uid=uid, groups=kvm_groups()
        )
        async with (
            started(lambda log: process.spawn(argv, log=log, pass_fds=files)) as (_, console),
            contextlib.aclosing(heard(console, deadline_s=BOOT_DEADLINE_S)) as words,
        ):
            async for word in words:
                said += word
                if WORD in said:
                    break
    return said
