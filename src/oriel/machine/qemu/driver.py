"""The QEMU runtime: the golden image as a virtual machine, with KVM or fully emulated.

A machine that began at a moment keeps a link to that moment's memory as its `base`: the file it still has
mapped, and against which its own moments are taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from oriel.host.cgroups import Cgroup
from oriel.host.disk import make_disk
from oriel.host.namespaces import NetnsSockets
from oriel.host.probes import cpu_model
from oriel.host.slots import process_uid
from oriel.host.threads import in_thread
from oriel.machine.driver import Exit, MachineSpec, Moment
from oriel.machine.launch import console_of, launch
from oriel.machine.qemu import monitor
from oriel.machine.qemu.command import (
    KVM,
    QEMU,
    TCG,
    Accelerator,
    Board,
    Descriptors,
    board_argv,
    confined,
    kernel_command_line,
    limits,
    qemu_argv,
)
from oriel.machine.qemu.moments import Standing, restore_moment, save_moment
from oriel.machine.tracked import TrackedProcess
from oriel.machine.trial import KVM_DEVICE
from oriel.model.errors import HostError, LaunchError, UnavailableError
from oriel.model.spec import Isolation, Runtime

__all__ = ["QemuDriver", "QemuMachine", "kvm_groups"]

MONITOR_DEADLINE_S = 30
RUNG_DEADLINE_S = 2  # for each rung after the guest had its chance
CTRL_ALT_DEL = [{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")]


class QemuMachine:
    """A running QEMU."""

    def __init__(
        self, spec: MachineSpec, tracked: TrackedProcess, isolation: Isolation, *, base_fd: int | None = None
    ) -> None:
        self._spec = spec
        self._tracked = tracked
        self._cgroup = Cgroup(spec.desktop_id)
        self._socket = _socket(spec)
        self._isolation = isolation
        self.base_fd = base_fd  # in QEMU, of the file its memory is to be mapped from

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

    async def halt(self) -> None:
        """QEMU lets what is under way on the disk end, and flushes it, before it says that it stands."""
        await monitor.command(self._socket, "stop", deadline_s=MONITOR_DEADLINE_S)

    async def go_on(self) -> None:
        await monitor.command(self._socket, "cont", deadline_s=MONITOR_DEADLINE_S)

    async def halted(self) -> bool:
        status = await monitor.command(self._socket, "query-status", deadline_s=MONITOR_DEADLINE_S)
        return not status["running"]

    async def save(self, moment: Moment) -> None:
        base = _base(self._spec)
        if await in_thread(base.exists):
            await in_thread(lambda: os.link(base, moment.base))
        await save_moment(moment, self.standing)

    @property
    def standing(self) -> Standing:
        """Where its memory is reached."""
        return Standing(
            pid=self._tracked.identity.pid, socket=self._socket,
            uid=process_uid(self._spec.slot), memory_mib=self._spec.memory_mib,
        )  # fmt: skip

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
        async with self._launched(spec) as machine:
            await machine.go_on()
        return machine

    async def engine(self, spec: MachineSpec) -> str:
        board = " ".join(board_argv(_board(spec, self._accelerator)))
        program, host = await in_thread(_program), await in_thread(cpu_model)
        return f"{program}; {self._accelerator.name} {board}; {host}"

    async def restore(self, spec: MachineSpec, moment: Moment) -> QemuMachine:
        try:
            async with self._launched(spec, moment) as machine:
                await restore_moment(moment, machine.standing, machine.base_fd)
        except (HostError, UnavailableError, OSError) as error:
            raise LaunchError(
                f"the machine cannot go on from {moment.directory}: {error}",
                hint="it was saved by another version, or is damaged",
            ) from error
        return machine

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> QemuMachine | None:
        identity = TrackedProcess.identity_in(record)
        if identity is None:
            return None
        console = console_of(spec)
        console.open()
        tracked = TrackedProcess(identity, explain=_explain, at_end=console.close)
        return QemuMachine(spec, tracked, Isolation(record.get("isolation", Isolation.EMULATED_VM)))

    async def release(self, spec: MachineSpec) -> None:
        await Cgroup(spec.desktop_id).remove()
        if await in_thread(spec.directory.exists):
            await in_thread(lambda: shutil.rmtree(spec.directory))

    @contextlib.asynccontextmanager
    async def _launched(self, spec: MachineSpec, moment: Moment | None = None) -> AsyncIterator[QemuMachine]:
        """A halted machine; if the block fails, nothing of it is left."""
        await self.release(spec)
        try:
            spec.directory.mkdir(parents=True, exist_ok=True)
            if moment is not None:
                whole = moment.base if await in_thread(moment.base.exists) else moment.memory
                os.link(whole, _base(spec))
            cgroup = Cgroup(spec.desktop_id)
            cgroup.create(limits(spec, self._accelerator))
            yield await _launch(spec, cgroup, self._accelerator)
        except BaseException:
            await self.release(spec)
            raise


def _board(spec: MachineSpec, accelerator: Accelerator) -> Board:
    return Board(
        name=spec.desktop_id,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        accelerator=accelerator,
        append=kernel_command_line(*accelerator.kernel_words),
    )


async def _launch(spec: MachineSpec, cgroup: Cgroup, accelerator: Accelerator) -> QemuMachine:
    with _open_files(spec, await _open_tap(spec)) as files:
        argv = confined(
            qemu_argv(_board(spec, accelerator), files),
            netns=spec.link.netns,
            uid=process_uid(spec.slot),
            groups=kvm_groups() if accelerator is KVM else (),
        )
        tracked = await launch(
            argv,
            spec=spec,
            cgroup=cgroup,
            up=lambda: _listening(spec),
            explain=_explain,
            pass_fds=[fd for fd in vars(files).values() if fd is not None],
        )
        isolation = Isolation.VM if accelerator is KVM else Isolation.EMULATED_VM
        return QemuMachine(spec, tracked, isolation, base_fd=files.base)


async def _listening(spec: MachineSpec) -> None:
    """Until the monitor answers. It listens since before QEMU was born."""
    await monitor.command(_socket(spec), "query-status", deadline_s=MONITOR_DEADLINE_S)


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
            base=opened(_base(spec), os.O_RDONLY) if _base(spec).exists() else None,
        )


def _program() -> str:
    """Which QEMU this is. Its version could only be asked of a process, once more for every start."""
    path = shutil.which(QEMU)
    if path is None:
        raise HostError(f"{QEMU} is not installed", hint="`oriel doctor` lists the packages this host lacks")
    file = Path(path).resolve().stat()
    return f"{QEMU} of {file.st_size} bytes, made {int(file.st_mtime)}"


def kvm_groups() -> list[int]:
    """For whom /dev/kvm is: the group that may open /dev/kvm, where its mode gives it to a group."""
    status = KVM_DEVICE.stat()
    return [status.st_gid] if status.st_mode & 0o060 == 0o060 and status.st_gid else []


def _socket(spec: MachineSpec) -> Path:
    return spec.directory / "qmp.sock"


def _base(spec: MachineSpec) -> Path:
    return spec.directory / "base"


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
