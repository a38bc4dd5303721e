"""The dashboard and the alerts that we ship ask for what a controller tells, by labels that it has."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.controller import Running, against

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
# Prometheus's own: whether a target answered.
OWN = {"up": {"job", "instance"}}
FUNCTIONS = {"rate", "increase", "sum", "histogram_quantile", "by"}


def dashboard() -> list[tuple[str, str]]:
    """Each query with what its legend shows."""
    document = json.loads((DEPLOY / "grafana/oriel.json").read_text())
    return [(each["expr"], each["legendFormat"]) for panel in document["panels"]
            for each in panel.get("targets", ())]  # fmt: skip


def alerts() -> list[str]:
    text = (DEPLOY / "prometheus/oriel.rules.yml").read_text()
    return re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)


def asked(query: str) -> tuple[set[str], set[str]]:
    """The names of series in a query, and the labels that it chooses or groups by."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", query))
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        labels |= {label.strip() for label in group.split(",")}
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", query)
    return set(re.findall(r"[a-z_]{2,}", bare)) - FUNCTIONS, labels


async def told(c: Running) -> dict[str, set[str]]:
    """Every series of /metrics with its labels, after a desktop has started, failed and come back."""
    desktop = await c.desktop("mine")
    ticket = await c.ticket("mine")
    async with c.http() as http, asyncio.timeout(120):
        await http.patch("/v1/desktops/mine", json={"restart": "on-failure"})
        async with c.websocket("/v1/desktops/mine/vnc", ticket=ticket) as socket:
            await socket.recv()
        await desktop.die()
        await c.until("mine", "running")
        while True:
            text = (await http.get("/metrics")).text
            if "oriel_desktop_restarts_total 1.0" in text and 'code="machine_exited"' in text:
                break
    series: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


@against()
async def test_every_query_asks_for_something_that_is_told(c: Running) -> None:
    series = OWN | await told(c)
    queries = dashboard()
    assert len(queries) > 20
    for query, legend in [*queries, *((alert, "") for alert in alerts())]:
        names, labels = asked(query)
        assert names, query
        for name in names:
            assert name in series, f"{name} is not told: {query}"
            shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert labels | shown <= series[name], f"{labels | shown} of {name}, which has {series[name]}"


@against()
async def test_what_is_told_is_shown(c: Running) -> None:
    """A figure that nobody looks at is not worth its cost."""
    shown = {name for query, _ in dashboard() for name in asked(query)[0]}
    for name in await told(c):
        family = re.sub(r"_(bucket|count|sum|total|created)\Z", "", name)
        if name.startswith("oriel_") and name != "oriel_build_info" and not name.endswith("_created"):
            assert any(one.startswith(family) for one in shown), f"no panel shows {name}"
