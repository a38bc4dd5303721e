"""What one desktop takes of its host, by the processes that are its own."""

from __future__ import annotations

import os
from typing import Any

from oriel.host.cgroups import Cgroup
from oriel.host.threads import in_thread
from oriel.host.usage import Usage, usage_of
from oriel.keeper.desktop import Desktop
from oriel.machine.driver import Counting

__all__ = ["measure"]

COUNT_DEADLINE_S = 2


async def measure(desktop: Desktop) -> dict[str, Any]:
    """`{memory_mib, private_mib, cpu_s, by: {machine, gateway, keeper: the same}, vmm?: {counter: total}}`,
    measured now."""
    gateway = desktop.plan.journal.ledger.gateway if desktop.assembly is not None else None
    processes = {
        "machine": Cgroup(desktop.plan.spec.id).processes(),
        "gateway": [gateway["pid"]] if gateway else [],
        "keeper": [os.getpid()],
    }
    parts = await in_thread(lambda: {name: usage_of(pids) for name, pids in processes.items()})
    told = _told(sum(parts.values(), Usage())) | {"by": {name: _told(part) for name, part in parts.items()}}
    assembly = desktop.assembly
    if assembly is not None and isinstance(assembly.machine, Counting):
        told["vmm"] = dict(await assembly.machine.count(deadline_s=COUNT_DEADLINE_S))
    return told


def _told(usage: Usage) -> dict[str, Any]:
    return {
        "memory_mib": round(usage.pss_kib / 1024, 1), "private_mib": round(usage.private_kib / 1024, 1),
        "cpu_s": round(usage.cpu_s, 2),
    }  # fmt: skip
