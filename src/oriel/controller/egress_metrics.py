"""What goes out of each desktop, for Prometheus: asked of the keepers when wanted, by their ids only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from oriel.fleet import Fleet
from oriel.model.errors import OrielError

__all__ = ["ask_keepers", "render_egress"]

AT_ONCE = 32
PATIENCE_S = 2.0  # a keeper that is slower is left out of this scrape


async def ask_keepers(fleet: Fleet, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What the keepers that answer tell of their desktops (`inspect`), by desktop."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(desktop_id: str) -> tuple[str, Mapping[str, Any]]:
        async with turn:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    told = await fleet.keeper(desktop_id).inspect()
            except (OrielError, TimeoutError):
                return desktop_id, {}
            return desktop_id, told

    return {one: told for one, told in await asyncio.gather(*(ask(one) for one in ids)) if told}


def render_egress(inspected: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The text format of what the gateways counted."""
    counters = {one: told.get("egress", {}) for one, told in inspected.items()}
    registry = CollectorRegistry()
    registry.register(_Told({one: told for one, told in counters.items() if "bytes_in" in told}))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        self._told = told

    def collect(self) -> Iterable[Metric]:
        yield self._bytes()
        for name, about, key in (
            ("connections", "Connections that the desktop began.", "connections"),
            ("upstream_errors", "Times that its proxy was at fault.", "upstream_errors"),
        ):
            counter = CounterMetricFamily(f"oriel_egress_{name}", about, labels=("desktop",))
            for desktop, counters in self._told.items():
                counter.add_metric((desktop,), counters[key])
            yield counter
        yield self._denied()
        opened = GaugeMetricFamily("oriel_egress_open", "Connections open now.", labels=("desktop",))
        works = GaugeMetricFamily(
            "oriel_egress_upstream_ok", "1 while its proxy works, 0 while it does not.", labels=("desktop",)
        )
        for desktop, counters in self._told.items():
            opened.add_metric((desktop,), counters["open"])
            if counters["upstream_ok"] is not None:
                works.add_metric((desktop,), float(counters["upstream_ok"]))
        yield opened
        yield works
        yield self._latency()

    def _bytes(self) -> Metric:
        counter = CounterMetricFamily(
            "oriel_egress_bytes", "Bytes; in is towards the desktop.", labels=("desktop", "direction")
        )
        for desktop, counters in self._told.items():
            for direction in ("in", "out"):
                counter.add_metric((desktop, direction), counters[f"bytes_{direction}"])
        return counter

    def _denied(self) -> Metric:
        counter = CounterMetricFamily(
            "oriel_egress_denied", "What was refused, by reason.", labels=("desktop", "reason")
        )
        for desktop, counters in self._told.items():
            for reason, count in counters["denied_by_reason"].items():
                counter.add_metric((desktop, reason), count)
        return counter

    def _latency(self) -> Metric:
        histogram = HistogramMetricFamily(
            "oriel_egress_connect_seconds", "Time to connect, through its proxy.", labels=("desktop",)
        )
        for desktop, counters in self._told.items():
            latency = counters["latency_ms"]
            buckets = [
                (bound if bound == "+Inf" else str(int(bound) / 1000), count)
                for bound, count in latency["buckets"].items()
            ]
            histogram.add_metric((desktop,), buckets, latency["sum"] / 1000)
        return histogram
