"""What the VMM of each desktop counts, for Prometheus, by the VMM's own names and by desktop ids only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["render_vmm"]


def render_vmm(inspected: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The text format of `machine.counted` in what keepers told (`inspect`): `oriel_vmm_GROUP_COUNTER`."""
    counted = {one: told.get("machine", {}).get("counted", {}) for one, told in inspected.items()}
    registry = CollectorRegistry()
    registry.register(_Counted(counted))
    return generate_latest(registry)


class _Counted(Collector):
    def __init__(self, counted: Mapping[str, Mapping[str, int]]) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        for name in sorted({name for counters in self._counted.values() for name in counters}):
            counter = CounterMetricFamily(
                f"oriel_vmm_{name.replace('.', '_')}", f"{name} of the desktop's VMM.", labels=("desktop",)
            )
            for desktop, counters in self._counted.items():
                if name in counters:
                    counter.add_metric((desktop,), counters[name])
            yield counter
