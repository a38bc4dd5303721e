"""The Firecracker runtime: the golden image as a microVM, in a jail."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oriel.host.appearance import appeared
from oriel.host.cgroups import Cgroup
from oriel.host.disk import make_disk
from oriel.host.mounts import enter_private_mounts
from oriel.host.slots import process_uid
from oriel.host.threads import DedicatedThread, in_thread
from oriel.machine.driver import MachineSpec, Moment
from oriel.machine.firecracker import calls
from oriel.machine.firecracker.calls import Call
from oriel.machine.firecracker.client import ask
from oriel.machine.firecracker.command import METRICS, SOCKET, jailer_argv, kernel_command_line, limits
from oriel.machine.firecracker.ending import explained
from oriel.machine.firecracker.jail import Jail, files_of
from oriel.machine.firecracker.machine import API_DEADLINE_S, LOAD_DEADLINE_S, FirecrackerMachine
from oriel.machine.firecracker.memory import Block, blocks_in, fill, mapped
from oriel.machine.firecracker.metrics import Metrics
from oriel.machine.firecracker.release import Release
from oriel.machine.launch import console_of, launch
from oriel.machine.tracked import TrackedProcess
from oriel.model.errors import HostError, LaunchError, NoSpaceError, UnavailableError
from oriel.model.spec import Runtime

__all__ = ["FirecrackerDriver", "jail_of"]

RETRY_S = 0.005
JAIL_BYTES = 1 << 16  # of a jail besides the program: directories, and places for what is shown in it


class FirecrackerDriver:
    """See the promises in `oriel.machine.driver`.

    `release` finds and examines the programs, and is asked at each start: they may be others by then, and
    to clear away what earlier ones left they need not be there at all.
    """

    runtime = Runtime.FIRECRACKER

    def __init__(self, release: Callable[[], Awaitable[Release]]) -> None:
        self._release = release

    async def prepare_disk(self, spec: MachineSpec) -> None:
        await make_disk(spec.image.disk, spec.disk, size_gib=spec.disk_gib)

    async def start(self, spec: MachineSpec) -> FirecrackerMachine:
        append = kernel_command_line()
        return await self._run(spec, files_of(spec), calls.boot(spec, append))

    async def engine(self, spec: MachineSpec) -> str:  # noqa: ARG002 - the same for every specification
        """Firecracker promises a restore only on the same version, processor and host kernel."""
        release = await self._release()
        return f"firecracker {release.version}; linux {os.uname().release}; {await in_thread(_processor)}"

    async def restore(self, spec: MachineSpec, moment: Moment) -> FirecrackerMachine:
        files = {calls.ROOT: spec.image.root, calls.DISK: spec.disk}
        files |= {calls.MEMORY: _whole(moment), calls.DEVICES: moment.devices}
        asked = [calls.load(), *(calls.limit(spec.rates) if spec.rates else ())]
        return await self._run(spec, files, asked, moment)

    async def adopt(self, spec: MachineSpec, record: Mapping[str, Any]) -> FirecrackerMachine | None:
        identity = TrackedProcess.identity_in(record)
        if identity is None:
            return None
        jail, console = jail_of(spec), console_of(spec)
        metrics = Metrics(jail.metrics)
        console.open()
        metrics.open()

        def at_end() -> None:
            console.close()
            metrics.close()

        tracked = TrackedProcess(
            identity, explain=lambda code: explained(code, metrics.totals.faults), at_end=at_end
        )
        return FirecrackerMachine(
            tracked, Cgroup(spec.desktop_id), jail, metrics, base=_base(spec), memory=blocks_in(record)
        )

    async def release(self, spec: MachineSpec) -> None:
        await Cgroup(spec.desktop_id).remove()
        if await in_thread(spec.directory.exists):
            await in_thread(lambda: shutil.rmtree(spec.directory))
        # The slot's uid may be another desktop's tomorrow.
        with contextlib.suppress(FileNotFoundError):
            os.chown(spec.disk, 0, 0)

    async def _run(
        self,
        spec: MachineSpec,
        files: Mapping[str, Path],
        asked: Sequence[Call],
        moment: Moment | None = None,
    ) -> FirecrackerMachine:
        """A machine over `files`, once it has done what is `asked` of it. `moment`: it stands as that one."""
        await self.release(spec)
        try:
            release = await self._release()
            await in_thread(lambda: _make(spec, release, moment))
            inside = await DedicatedThread.open(f"mounts {spec.desktop_id}", enter_private_mounts)
            try:
                await inside.call(lambda: jail_of(spec).show(files))
                return await _launch(spec, _argv(spec, release), inside, asked, moment)
            finally:
                await in_thread(inside.close)
        except BaseException:
            await self.release(spec)
            raise


def jail_of(spec: MachineSpec) -> Jail:
    return Jail(spec.directory / "jail", spec.desktop_id)


def _base(spec: MachineSpec) -> Path:
    """A link to the memory that a restored machine has mapped."""
    return spec.directory / "base"


def _whole(moment: Moment) -> Path:
    """The whole memory that is to be mapped; what a moment has beside a base is filled in."""
    return moment.base if moment.base.exists() else moment.memory


def _make(spec: MachineSpec, release: Release, moment: Moment | None) -> None:
    """Control group and jail, and the disk in the hands of the slot's uid. Raises HostError, NoSpaceError."""
    uid = process_uid(spec.slot)
    try:
        jail_of(spec).make(uid)
        if moment is not None:
            _link_base(moment, _base(spec))
        _check_room(spec, release)
        os.chown(spec.disk, uid, uid)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_room(spec, "it has no room for another file") from error
        raise HostError(f"the jail of {spec.desktop_id} cannot be made: {error}") from error
    Cgroup(spec.desktop_id).create(limits(spec))


def _link_base(moment: Moment, base: Path) -> None:
    whole = _whole(moment)
    if not whole.exists():
        raise HostError(f"{whole} is missing", hint="the moment is damaged: start from the disk")
    os.link(whole, base)


def _check_room(spec: MachineSpec, release: Release) -> None:
    """The jailer copies the program into the jail; without room for it it ends with a word of its own."""
    free, needed = shutil.disk_usage(spec.directory).free, release.firecracker.stat().st_size + JAIL_BYTES
    if free < needed:
        raise _no_room(spec, f"it has {free >> 10} KiB free and {needed >> 10} KiB are needed")


def _no_room(spec: MachineSpec, why: str) -> NoSpaceError:
    return NoSpaceError(
        f"there is no room for the jail of {spec.desktop_id} in {spec.directory}: {why}",
        hint="delete desktops, snapshots or images, or enlarge the file system",
    )


def _argv(spec: MachineSpec, release: Release) -> list[str | Path]:
    return jailer_argv(
        jailer=release.jailer,
        firecracker=release.firecracker,
        name=spec.desktop_id,
        uid=process_uid(spec.slot),
        base=jail_of(spec).base,
        netns=spec.link.netns,
        options=["--api-sock", SOCKET, "--metrics-path", METRICS],
    )


async def _launch(
    spec: MachineSpec,
    argv: list[str | Path],
    inside: DedicatedThread,
    asked: Sequence[Call],
    moment: Moment | None,
) -> FirecrackerMachine:
    jail, cgroup = jail_of(spec), Cgroup(spec.desktop_id)
    metrics = Metrics(jail.metrics)

    async def up() -> None:
        await appeared(jail.path(SOCKET))
        await _listening(jail)
        metrics.open()  # Firecracker holds the other end by now
        for call in asked:
            deadline_s = LOAD_DEADLINE_S if call.path == "/snapshot/load" else API_DEADLINE_S
            await ask(jail.root, SOCKET, call, deadline_s=deadline_s)

    try:
        tracked = await launch(
            argv,
            spec=spec,
            cgroup=cgroup,
            up=up,
            explain=lambda code: explained(code, metrics.totals.faults),
            at_end=metrics.close,
            within=inside.call_now,
        )
    except BaseException:
        metrics.close()
        raise
    memory: list[Block] = []
    if moment is not None:
        try:
            memory = await in_thread(lambda: _become(tracked.identity.pid, _base(spec), moment))
        except BaseException:
            await cgroup.kill()
            await tracked.wait()
            raise
    return FirecrackerMachine(tracked, cgroup, jail, metrics, base=_base(spec), memory=memory)


def _become(pid: int, base: Path, moment: Moment) -> list[Block]:
    """A machine that was just loaded stands as the moment's; where its memory is. Raises LaunchError."""
    try:
        memory = mapped(pid, base)
        if moment.base.exists():
            fill(pid, memory, moment)
    except (HostError, OSError) as error:
        raise LaunchError(
            f"the machine cannot go on from {moment.directory}: {error}",
            hint="it is damaged: start from the disk",
        ) from error
    return memory


async def _listening(jail: Jail) -> None:
    """Until the socket takes connections: between bind(2) and listen(2) it refuses, and no event tells."""
    while True:
        try:
            await ask(jail.root, SOCKET, calls.instance(), deadline_s=API_DEADLINE_S)
            return
        except UnavailableError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError):
                raise
            await asyncio.sleep(RETRY_S)


def _processor() -> str:
    """What a guest sees of the host's processor, as far as it can matter."""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    fields = dict(line.replace("\t", "").partition(":")[::2] for line in first.splitlines())
    return "; ".join(fields.get(name, "").strip() for name in wanted)
