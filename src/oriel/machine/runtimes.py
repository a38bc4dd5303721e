"""Which runtimes there are, which of them work here, and which one `auto` means."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from oriel.machine.container.driver import ContainerDriver
from oriel.machine.container.probe import probe as probe_container
from oriel.machine.driver import Driver, ImageFiles, Probe
from oriel.machine.qemu.driver import QemuDriver
from oriel.machine.qemu.probe import probe as probe_qemu
from oriel.model.errors import HostError
from oriel.model.spec import Isolation, Runtime

__all__ = ["automatic", "driver_for", "probe_all"]


def driver_for(runtime: Runtime, isolation: Isolation | None = None) -> Driver:
    """The driver of a runtime. `isolation` is what its probe found: QEMU uses KVM only for `vm`."""
    if runtime is Runtime.CONTAINER:
        return ContainerDriver()
    if runtime is Runtime.QEMU:
        return QemuDriver(kvm=isolation is Isolation.VM)
    raise HostError(f"this version has no {runtime} runtime", hint="use qemu or container")


async def probe_all(image: ImageFiles | None) -> dict[Runtime, Probe]:
    """Try every runtime, at the same time; at most some 20 s. Without an image only the tools are checked."""
    qemu, container = await asyncio.gather(probe_qemu(image), probe_container(image))
    missing = Probe(
        False, Isolation.VM, "this version has no firecracker runtime", "use qemu with KVM, or container"
    )
    return {Runtime.FIRECRACKER: missing, Runtime.QEMU: qemu, Runtime.CONTAINER: container}


def automatic(probes: Mapping[Runtime, Probe]) -> Runtime:
    """What `auto` means here: firecracker, qemu with KVM, container, and last qemu in emulation.

    Raises HostError with every reason if none works.
    """
    working = [runtime for runtime in Runtime if runtime in probes and probes[runtime].works]
    for runtime in working:
        if probes[runtime].isolation is not Isolation.EMULATED_VM:
            return runtime
    if working:
        return working[0]
    reasons = "; ".join(f"{runtime}: {probe.detail}" for runtime, probe in probes.items())
    hint = "; ".join(probe.hint for probe in probes.values() if probe.hint)
    raise HostError(f"no runtime works on this host: {reasons}", hint=hint)
