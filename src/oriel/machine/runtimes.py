"""Which one of the runtimes that work here `auto` means."""

from __future__ import annotations

from collections.abc import Mapping

from oriel.machine.driver import Probe
from oriel.model.errors import HostError
from oriel.model.spec import Isolation, Runtime

__all__ = ["automatic"]


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
