"""Limits that are suggested for a host follow from what was measured of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oriel.controller.demand import LATELY_S, Demand, most_at_once
from oriel.controller.kinds import Kind
from oriel.host.capacity import Measured, measure, suggest
from oriel.host.layout import Home
from oriel.host.meters import ProcessorMeter
from oriel.model.spec import Runtime, Screen

HOST = Measured(
    processors=8, hash_mib_s=400, load=1.0, memory_mib=32768, memory_free_mib=30000, disk_free_mib=500_000,
    write_mib_s=800, sync_ms=0.5,
)  # fmt: skip
KIND = Kind(
    image="default@0123456789ab",
    runtime=Runtime.CONTAINER,
    vcpus=2,
    memory_mib=2048,
    disk_gib=8,
    screen=Screen(),
)


def test_a_host_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    found = measure(Home(tmp_path))
    assert found.hash_mib_s > 0
    assert found.write_mib_s > 0
    assert found.sync_ms > 0
    assert 0 < found.memory_free_mib <= found.memory_mib
    assert list(tmp_path.iterdir()) == []


def test_more_of_a_host_is_room_for_more() -> None:
    usual = suggest(HOST)
    assert usual["concurrent_starts"] == 8
    assert usual["desktops"] == (30000 - usual["memory_reserve_mib"]) // 300
    assert suggest(replace(HOST, hash_mib_s=100))["concurrent_starts"] == 2
    assert suggest(replace(HOST, sync_ms=50))["concurrent_starts"] == 1
    assert suggest(replace(HOST, disk_free_mib=0))["desktops"] == 0
    heavier = suggest(replace(HOST, desktops=10, each_mib=1000))
    assert heavier["desktops"] == 10 + (30000 - heavier["memory_reserve_mib"]) // 1000


@pytest.mark.parametrize(
    ("times", "most"), [([], 0), ([1], 1), ([0, 10, 20, 30, 31], 4), ([0, 100, 101, 102, 200], 3)]
)
def test_what_was_asked_for_at_once(times: list[float], most: int) -> None:
    assert most_at_once(times, 30) == most


def test_demand_follows_what_is_asked_and_ages() -> None:
    now = [0.0]
    demand = Demand(-1, clock=lambda: now[0])
    assert demand.kinds == []
    for _ in range(3):
        demand.ask(KIND, found=False)
    assert demand.wanted(KIND) == 3
    for _ in range(20):
        demand.ask(KIND, found=True)
    assert demand.wanted(KIND) == 8
    assert demand.met(KIND) == (20, 3)
    now[0] = LATELY_S + 1
    assert (demand.kinds, demand.wanted(KIND)) == ([], 0)
    demand.always(KIND)
    assert demand.wanted(KIND) == 1
    fixed = Demand(5)
    fixed.always(KIND)
    assert fixed.wanted(KIND) == 5


def test_the_meter_tells_a_share() -> None:
    meter = ProcessorMeter()
    assert 0 <= meter.busy() <= 1
