"""Figures for Prometheus. Neither names nor ids: anyone who reaches the port may read them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from oriel.model.spec import Runtime
from oriel.model.state import State

__all__ = ["Metrics"]


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "oriel_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "oriel_http_request_seconds", "Time until the answer began.", ("route",), registry=self._registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )  # fmt: skip
        self.restarts = Counter(
            "oriel_desktop_restarts", "Desktops started again by their policy.", registry=self._registry
        )
        self.relayed = Counter(
            "oriel_relayed_bytes",
            "Bytes of live connections.",
            ("kind", "direction"),
            registry=self._registry,
        )
        self._desktops = Gauge("oriel_desktops", "Desktops by state.", ("state",), registry=self._registry)
        self._connections = Gauge(
            "oriel_connections", "Live connections by kind.", ("kind",), registry=self._registry
        )
        self._listeners = Gauge("oriel_event_listeners", "Open event streams.", registry=self._registry)
        self._pool = Gauge(
            "oriel_pool_desktops", "Desktops made ahead, by runtime: that wait, and that should.",
            ("runtime", "count"), registry=self._registry,
        )  # fmt: skip
        self._pool_memory = Gauge(
            "oriel_pool_memory_bytes", "Memory of desktops made ahead.", registry=self._registry
        )
        self._asked = Gauge(
            "oriel_pool_creates", "Creates since the start that found one made ahead, or did not.", ("met",),
            registry=self._registry,
        )  # fmt: skip

    def note_pool(self, kinds: Sequence[Mapping[str, Any]]) -> None:
        """`kinds` as the pool describes them."""
        for runtime in Runtime:
            mine = [kind for kind in kinds if kind["runtime"] == runtime]
            for count in ("ready", "wanted"):
                self._pool.labels(runtime=str(runtime), count=count).set(sum(kind[count] for kind in mine))
        self._pool_memory.set(sum(kind["held_mib"] for kind in kinds) << 20)
        for met in ("taken", "missed"):
            self._asked.labels(met=met).set(sum(kind[met] for kind in kinds))

    def render(self, states: Mapping[str, int], connections: Count[str], listeners: int) -> bytes:
        """The text format, with what is counted only now."""
        for state in State:
            self._desktops.labels(state=str(state)).set(states.get(str(state), 0))
        for kind in ("vnc", "terminal", "exec", "cdp"):
            self._connections.labels(kind=kind).set(connections.get(kind, 0))
        self._listeners.set(listeners)
        return generate_latest(self._registry)
