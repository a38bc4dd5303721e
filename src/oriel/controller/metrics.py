"""Figures for Prometheus. Neither names nor ids: anyone who reaches the port may read them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

import oriel
from oriel.fleet import Capacity
from oriel.model.spec import Runtime
from oriel.model.state import State

__all__ = ["Metrics"]

KINDS = ("vnc", "webrtc", "terminal", "exec", "cdp", "events")  # of live connections
START_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)


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
        self.failures = Counter(
            "oriel_desktop_failures", "Desktops that failed, by the reason's code.", ("code",),
            registry=self._registry,
        )  # fmt: skip
        self.starts = Histogram(
            "oriel_desktop_start_seconds", "Starts, until both windows are painted.", ("runtime",),
            registry=self._registry, buckets=START_BUCKETS_S,
        )  # fmt: skip
        self.steps = Histogram(
            "oriel_desktop_step_seconds", "Each step of a start.", ("step",), registry=self._registry,
            buckets=START_BUCKETS_S,
        )  # fmt: skip
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

        self._host = {
            name: Gauge(f"oriel_host_{name}", about, registry=self._registry)
            for name, about in (
                ("cpus", "Processors of the host."),
                ("cpu_busy_ratio", "Share of them in use."),
                ("load", "Tasks that wanted a processor, over the last minute."),
                ("memory_bytes", "Memory of the host."),
                ("memory_free_bytes", "Memory that can be had."),
                ("disk_bytes", "File system of the home."),
                ("disk_free_bytes", "What is left of it."),
                ("draining", "1 while nothing new begins on the host."),
            )
        }
        version = Gauge("oriel_build_info", "1, with the version.", ("version",), registry=self._registry)
        version.labels(version=oriel.__version__).set(1)
        ProcessCollector(registry=self._registry)

    def note_host(self, capacity: Capacity, *, draining: bool) -> None:
        """What the host has now."""
        for name, value in (
            ("cpus", capacity.vcpus), ("cpu_busy_ratio", capacity.busy), ("load", capacity.load),
            ("memory_bytes", capacity.memory_mib << 20),
            ("memory_free_bytes", capacity.memory_free_mib << 20),
            ("disk_bytes", capacity.disk_mib << 20), ("disk_free_bytes", capacity.disk_free_mib << 20),
            ("draining", draining),
        ):  # fmt: skip
            self._host[name].set(value)

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
        for kind in KINDS:
            self._connections.labels(kind=kind).set(connections.get(kind, 0))
        self._listeners.set(listeners)
        return generate_latest(self._registry)
