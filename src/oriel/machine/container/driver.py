"""The container runtime: systemd-nspawn over the golden image and the desktop's own disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oriel.host.cgroups import Cgroup
from oriel.host.disk import make_disk
from oriel.host.mounts import enter_private_mounts
from oriel.host.threads import DedicatedThread, in_thread
from oriel.machine.container.command import ENVIRONMENT, limits, nspawn_argv
from oriel.machine.container.tree import mount_image, mount_tree, release_tree
from oriel.machine.driver import Exit, MachineSpec
from oriel.machine.launch import console_of, launch
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import HostError
from oriel.model.spec import Isolation, Runtime

__all__ = ["ContainerDriver", "ContainerMachine"]

PROPAGATE = Path("/run/systemd/nspawn/propagate")
REBOOTED = 133  # systemd-nspawn(1), --keep-unit


class ContainerMachine:
    """A running container: nspawn's process and everything in its control group."""

    isolation = Isolation.CONTAINER

    def __init__(self, tracked: TrackedProcess, cgroup: Cgroup) -> None:
        self._tracked = tracked
        self._cgroup = cgroup

    @property
    def record(self) -> Mapping[str, Any]:
        return self._tracked.record

    async def wait(self) -> Exit:
        ended = await self._tracked.wait()
        # A killed nspawn does not take the container with it.
        await self._cgroup.kill()
        return ended

    async def stop(self, *, deadline_s: float) -> Exit:
        """Ask the guest's systemd to power off (nspawn does on TERM), and after `deadline_s` KILL."""
        self._tracked.identity.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                return await self.wait()
        return await self.kill()

    async def kill(self) -> Exit:
        await self._cgroup.kill()
        return await self.wait()

    async def halt(self) -> None:
        """Frozen where it stands, memory and all; that does not outlive the host."""
        await self._cgroup.freeze(True)

    async def go_on(self) -> None:
        await self._cgroup.freeze(False)

    async def halted(self) -> bool:
        return await in_thread(self._cgroup.is_frozen)


class ContainerDriver:
    """See the promises in `oriel.machine.driver`."""

    runtime = Runtime.CONTAINER

    async def prepare_disk(self, spec: MachineSpec) -> None:
        await make_disk(spec.image.disk, spec.disk, size_gib=spec.disk_gib)

    async def start(self, spec: MachineSpec) -> ContainerMachine:
        return await self.run(spec)

    async def run(self, spec: MachineSpec, program: Sequence[str] = ()) -> ContainerMachine:
        """As `start`; with `program` that alone runs in the container, instead of the guest's systemd."""
        await self.release(spec)
        try:
            await in_thread(lambda: mount_image(spec))
            cgroup = Cgroup(spec.desktop_id)
            cgroup.create(limits(spec))
            inside = await DedicatedThread.open(f"mounts {spec.desktop_id}", enter_private_mounts)
            try:
                await inside.call(lambda: mount_tree(spec))
                return await _launch(spec, cgroup, program, inside)
            finally:
                await in_thread(inside.close)
        except BaseException:
            await self.release(spec)
            raise

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> ContainerMachine | None:
        identity = TrackedProcess.identity_in(record)
        if identity is None:
            return None
        console = console_of(spec)
        console.open()
        tracked = TrackedProcess(identity, explain=_explain, at_end=console.close)
        return ContainerMachine(tracked, Cgroup(spec.desktop_id))

    async def release(self, spec: MachineSpec) -> None:
        await Cgroup(spec.desktop_id).remove()
        await in_thread(lambda: release_tree(spec))
        await in_thread(lambda: _forget(spec))


async def _launch(
    spec: MachineSpec, cgroup: Cgroup, program: Sequence[str], inside: DedicatedThread
) -> ContainerMachine:
    with _datagrams(spec.directory / "notify") as notify:
        tracked = await launch(
            nspawn_argv(spec, program),
            spec=spec,
            cgroup=cgroup,
            up=lambda: _said_ready(notify),
            explain=_explain,
            env=ENVIRONMENT | {"NOTIFY_SOCKET": str(notify.getsockname())},
            within=inside.call_now,
        )
    return ContainerMachine(tracked, cgroup)


async def _said_ready(notify: socket.socket) -> None:
    """Until nspawn says that its child runs (sd_notify(3))."""
    loop = asyncio.get_running_loop()
    while b"READY=1" not in (await loop.sock_recv(notify, 4096)).splitlines():
        pass


@contextlib.contextmanager
def _datagrams(path: Path) -> Iterator[socket.socket]:
    """A unix datagram socket bound to `path` while the block runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(str(path))
        except OSError as error:
            raise HostError(
                f"the socket {path} cannot be made: {error}", hint="use a shorter home"
            ) from error
        sock.setblocking(False)
        yield sock
    path.unlink(missing_ok=True)


def _forget(spec: MachineSpec) -> None:
    """Remove the machine's files, and what a killed nspawn forgets."""
    for directory in (spec.directory, PROPAGATE / spec.desktop_id):
        if directory.exists():
            shutil.rmtree(directory)


def _explain(code: int | None) -> str:
    match code:
        case None:
            return "the container has ended"
        case 0:
            return "the container powered off"
        case _ if code == REBOOTED:
            return "the container asked for a reboot"
        case _ if code < 0:
            return f"the container was killed by {signal.Signals(-code).name}"
        case _:
            return f"the container failed with exit code {code}"
