"""Every driver of the contract, and a place on this host for one machine of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from oriel.host import slots
from oriel.host.cgroups import Cgroup
from oriel.host.namespaces import NetnsSockets
from oriel.machine.container.driver import ContainerDriver
from oriel.machine.driver import Driver, ImageFiles, MachineSpec
from oriel.machine.fake import NeverReadyDriver, SlowDriver, StubbornDriver
from oriel.machine.firecracker.driver import FirecrackerDriver
from oriel.machine.firecracker.release import Release, examined
from oriel.machine.qemu.driver import QemuDriver
from oriel.model.link import Link
from oriel.model.spec import Runtime
from oriel.network.link import GatewaySockets, make_link, open_gateway_sockets, remove_link
from tests.inventory import Inventory

ROOT = Path(__file__).resolve().parents[2]


async def release() -> Release:
    """Firecracker as the environment says; its jailer stands beside it."""
    firecracker = Path(os.environ["ORIEL_FIRECRACKER_BIN"])
    return await examined(firecracker, firecracker.with_name("jailer"))


async def fake_release() -> Release:
    """One without KVM, strict about jail and API (tests/fakes/firecracker.py)."""
    return Release(ROOT / "tests/fakes/bin/firecracker", ROOT / "tests/fakes/bin/jailer", "1.16.1")


DRIVERS: dict[str, Callable[[], Driver]] = {
    "firecracker": lambda: FirecrackerDriver(release),
    "firecracker-still": lambda: FirecrackerDriver(release),  # where its guests need not run
    "firecracker-api": lambda: FirecrackerDriver(fake_release),
    "container": ContainerDriver,
    "qemu": QemuDriver,
    "never-ready": NeverReadyDriver,
    "slow": lambda: SlowDriver(0.3),
    "stubborn": StubbornDriver,
}


@dataclass
class Place:
    """A desktop's place without its keeper: directory, slot and link are the test's own."""

    kind: str
    spec: MachineSpec

    @property
    def driver(self) -> Driver:
        return DRIVERS[self.kind]()

    @property
    def runtime(self) -> Runtime:
        kind = self.kind.partition("-")[0]
        return Runtime(kind) if kind in list(Runtime) else Runtime.CONTAINER

    @contextlib.asynccontextmanager
    async def linked(self) -> AsyncIterator[None]:
        """With the desktop's network link; on leaving, machine and link are taken away."""
        uid = slots.process_uid(self.spec.slot)
        self.spec = replace(self.spec, link=await make_link(self.spec.desktop_id, self.runtime, uid))
        try:
            yield
        finally:
            await self.driver.release(self.spec)
            await remove_link(self.spec.desktop_id)

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[tuple[NetnsSockets, GatewaySockets]]:
        """The gateway's sockets in the link's namespace."""
        inside = await NetnsSockets.open(self.spec.link.netns)
        try:
            listeners = await open_gateway_sockets(inside)
            try:
                yield inside, listeners
            finally:
                listeners.close()
        finally:
            inside.close()

    def processes(self) -> list[int]:
        """The members of the machine's control group."""
        return Cgroup(self.spec.desktop_id).processes()

    def left(self) -> list[str]:
        """What names this machine on the host, its link and slot apart."""
        return [
            line for line in Inventory.take().of(self.spec.desktop_id)
            if not line.startswith(("namespaces:", "slots:")) and "/netns/" not in line
        ]  # fmt: skip

    def starter(self) -> subprocess.Popen[bytes]:
        """Another process that starts the machine, prints its record as JSON and ends without a word."""
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.starter", self.kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )  # fmt: skip
        assert child.stdin is not None
        pickle.dump(self.spec, child.stdin)
        child.stdin.close()
        return child


def make_place(kind: str, image: Path, directory: Path) -> Place:
    """An unused id and slot, files below `directory`."""
    desktop_id = "d-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    home = directory / desktop_id
    home.mkdir()
    spec = MachineSpec(
        desktop_id=desktop_id,
        slot=slots.claim(directory, desktop_id),
        image=ImageFiles.of(image),
        disk=home / "disk.img",
        disk_gib=1,
        vcpus=2,
        memory_mib=1536,
        directory=home / "machine",
        console=home / "console.log",
        disk_mount=home / "disk",
        root_mount=home / "root",
        link=Link(netns=Path("/nowhere"), device=""),
    )
    return Place(kind, spec)
