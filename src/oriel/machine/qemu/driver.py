"""The QEMU runtime: the golden image as a virtual machine, with KVM or fully emulated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oriel.host.cgroups import Cgroup
from oriel.host.disk import make_disk
from oriel.host.namespaces import NetnsSockets
from oriel.host.slots import process_uid
from oriel.host.threads import in_thread
from oriel.machine.driver import Exit, MachineSpec
from oriel.machine.launch import console_of, launch
from oriel.machine.qemu import monitor
from oriel.machine.qemu.command import (
    KVM,
    TCG,
    Accelerator,
    Board,
    Descriptors,
    confined,
    kernel_command_line,
    limits,
    qemu_argv,
)
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import LaunchError, UnavailableError
from oriel.model.spec import Isolation, Runtime

__all__ = ["KVM_DEVICE", "QemuDriver", "QemuMachine", "kvm_groups"]

MONITOR_DEADLINE_S = 30
RUNG_DEADLINE_S = 2  # for each rung after the guest had its chance
CTRL_ALT_DEL = [{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")]
KVM_DEVICE = Path("/dev/kvm")


class QemuMachine:
    """A running QEMU."""

    def __init__(self, tracked: TrackedProcess, cgroup: Cgroup, socket: Path, isolation: Isolation) -> None:
        self._tracked = tracked
        self._cgroup = cgroup
        self._socket = socket
        self._isolation = isolation

    @property
    def isolation(self) -> Isolation:
        return self._isolation

    @property
    def record(self) -> Mapping[str, Any]:
        return self._tracked.record | {"isolation": str(self._isolation)}

    async def wait(self) -> Exit:
        return await self._tracked.wait()

    async def stop(self, *, deadline_s: float) -> Exit:
        """Ctrl-Alt-Del in the guest, and after `deadline_s` QEMU's own end, TERM and KILL.

        The three keys reach PID 1 from its first moment on, where the power button needs udev and
        logind; and it is how Firecracker asks. systemd then shuts down, and `-no-reboot` ends QEMU.
        """
        if await self._ask("send-key", keys=CTRL_ALT_DEL) and (ended := await self._ended(deadline_s)):
            return ended
        if await self._ask("quit") and (ended := await self._ended(RUNG_DEADLINE_S)):
            return ended
        if self._tracked.identity.signal(signal.SIGTERM) and (ended := await self._ended(RUNG_DEADLINE_S)):
            return ended
        return await self.kill()

    async def kill(self) -> Exit:
        await self._cgroup.kill()
        return await self.wait()

    async def _ask(self, command: str, **arguments: Any) -> bool:
        try:
            await monitor.command(self._socket, command, deadline_s=RUNG_DEADLINE_S, **arguments)
        except UnavailableError:
            return not self._tracked.identity.alive  # it may have ended before it could answer
        return True

    async def _ended(self, deadline_s: float) -> Exit | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                return await self.wait()
        return None


class QemuDriver:
    """See the promises in `oriel.machine.driver`. `kvm`: only where a test boot has proven it."""

    runtime = Runtime.QEMU

    def __init__(self, *, kvm: bool = False) -> None:
        self._accelerator = KVM if kvm else TCG

    async def prepare_disk(self, spec: MachineSpec) -> None:
        await make_disk(spec.image.disk, spec.disk, size_gib=spec.disk_gib)

    async def start(self, spec: MachineSpec) -> QemuMachine:
        await self.release(spec)
        try:
            spec.directory.mkdir(parents=True, exist_ok=True)
            cgroup = Cgroup(spec.desktop_id)
            cgroup.create(limits(spec, self._accelerator))
            return await _launch(spec, cgroup, self._accelerator)
        except BaseException:
            await self.release(spec)
            raise

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> QemuMachine | None:
        identity = TrackedProcess.identity_in(record)
        if identity is None:
            return None
        console = console_of(spec)
        console.open()
        tracked = TrackedProcess(identity, explain=_explain, at_end=console.close)
        isolation = Isolation(record.get("isolation", Isolation.EMULATED_VM))
        return QemuMachine(tracked, Cgroup(spec.desktop_id), _socket(spec), isolation)

    async def release(self, spec: MachineSpec) -> None:
        await Cgroup(spec.desktop_id).remove()
        if await in_thread(spec.directory.exists):
            await in_thread(lambda: shutil.rmtree(spec.directory))


async def _launch(spec: MachineSpec, cgroup: Cgroup, accelerator: Accelerator) -> QemuMachine:
    board = Board(
        name=spec.desktop_id,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        accelerator=accelerator,
        append=kernel_command_line(*accelerator.kernel_words),
    )
    with _open_files(spec, await _open_tap(spec)) as files:
        argv = confined(
            qemu_argv(board, files),
            netns=spec.link.netns,
            uid=process_uid(spec.slot),
            groups=kvm_groups() if accelerator is KVM else (),
        )
        tracked = await launch(
            argv,
            spec=spec,
            cgroup=cgroup,
            up=lambda: _running(spec),
            explain=_explain,
            pass_fds=list(vars(files).values()),
        )
    isolation = Isolation.VM if accelerator is KVM else Isolation.EMULATED_VM
    return QemuMachine(tracked, cgroup, _socket(spec), isolation)


async def _running(spec: MachineSpec) -> None:
    """Until the monitor says that the guest's processors run. It listens since before QEMU was born."""
    status = await monitor.command(_socket(spec), "query-status", deadline_s=MONITOR_DEADLINE_S)
    if not status["running"]:
        raise LaunchError(f"QEMU did not run the guest: {status['status']}")


async def _open_tap(spec: MachineSpec) -> int:
    inside = await NetnsSockets.open(spec.link.netns)
    try:
        return await inside.open_tap(spec.link.device)
    finally:
        inside.close()


@contextlib.contextmanager
def _open_files(spec: MachineSpec, tap: int) -> Iterator[Descriptors]:
    """What QEMU is to inherit, `tap` included; closed at the end of the block."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, tap)

        def opened(path: Path, flags: int) -> int:
            fd = os.open(path, flags | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            return fd

        yield Descriptors(
            kernel=opened(spec.image.kernel, os.O_RDONLY),
            initrd=opened(spec.image.initrd, os.O_RDONLY),
            root=opened(spec.image.root, os.O_RDONLY),
            disk=opened(spec.disk, os.O_RDWR),
            tap=tap,
            monitor=stack.enter_context(monitor.listen(_socket(spec))).fileno(),
        )


def kvm_groups() -> list[int]:
    """For whom /dev/kvm is: the group that may open /dev/kvm, where its mode gives it to a group."""
    status = KVM_DEVICE.stat()
    return [status.st_gid] if status.st_mode & 0o060 == 0o060 and status.st_gid else []


def _socket(spec: MachineSpec) -> Path:
    return spec.directory / "qmp.sock"


def _explain(code: int | None) -> str:
    match code:
        case None:
            return "the virtual machine has ended"
        case 0:
            return "the virtual machine powered off or restarted"
        case _ if code < 0:
            return f"QEMU was killed by {signal.Signals(-code).name}"
        case _:
            return f"QEMU failed with exit code {code}"
