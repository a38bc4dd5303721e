"""Whether containers work here: proven by running a program in one, made exactly as a desktop's is."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from oriel.host import process
from oriel.host.layout import NETNS_DIRECTORY
from oriel.host.namespaces import create_netns, delete_netns, list_netns
from oriel.machine.container.driver import ContainerDriver
from oriel.machine.driver import ImageFiles, MachineSpec, Probe
from oriel.model.errors import LaunchError, OrielError
from oriel.model.link import Link
from oriel.model.spec import Isolation

__all__ = ["probe"]

NEEDED = ("systemd-nspawn", "nsenter", "unshare", "ip", "nft", "resize2fs", "e2fsck")
PACKAGES = "apt install systemd-container iproute2 nftables e2fsprogs util-linux"
DEADLINE_S = 20
PREFIX = "oriel-probe-"  # of the namespace's name; the pid follows
UNUSED_SLOT = 0  # slots of desktops begin at 1


async def probe(image: ImageFiles | None) -> Probe:
    """Check the tools, and with an image run its `true` as a container. Leaves nothing; never raises."""
    if os.geteuid() != 0:
        return _no("containers need root", "run hostd as root")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return _no(f"not installed: {', '.join(missing)}", PACKAGES)
    if image is None:
        return Probe(True, Isolation.CONTAINER, "the tools are there; not tried, for want of an image")
    try:
        await _run_true(image)
    except TimeoutError:
        return _no(f"a test container did not end within {DEADLINE_S} s", "look at the load of the host")
    except OrielError as error:
        return _no(
            error.message, error.hint or "containers need Linux 5.19 or newer with EROFS and overlayfs"
        )
    return Probe(True, Isolation.CONTAINER, "a test container ran, with a user namespace of its own")


def _no(detail: str, hint: str) -> Probe:
    return Probe(False, Isolation.CONTAINER, detail, hint)


def _forget_killed_probes() -> None:
    for name in list_netns(PREFIX):
        if not Path("/proc", name.removeprefix(PREFIX)).exists():
            delete_netns(NETNS_DIRECTORY / name)


async def _run_true(image: ImageFiles) -> None:
    _forget_killed_probes()
    netns = NETNS_DIRECTORY / f"{PREFIX}{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix=PREFIX) as scratch:
        spec = _spec(image, Path(scratch), Link(netns=netns, device="", guest_netns=netns))
        driver = ContainerDriver()
        try:
            await create_netns(netns)
            await driver.prepare_disk(spec)
            machine = await driver.run(spec, ["/usr/bin/true"])
            async with asyncio.timeout(DEADLINE_S):
                ended = await machine.wait()
            if ended.code != 0:
                raise LaunchError(f"{ended.detail}\n{process.tail(spec.console)}")
        finally:
            await driver.release(spec)
            delete_netns(netns)


def _spec(image: ImageFiles, scratch: Path, link: Link) -> MachineSpec:
    return MachineSpec(
        desktop_id=f"probe-{os.getpid()}",
        slot=UNUSED_SLOT,
        image=image,
        disk=scratch / "disk.img",
        disk_gib=8,  # sparse; an image of the layout `copy` has a disk of some 3
        vcpus=1,
        memory_mib=768,
        directory=scratch / "machine",
        console=scratch / "console.log",
        disk_mount=scratch / "disk",
        root_mount=scratch / "root",
        link=link,
    )
