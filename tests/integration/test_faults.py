"""A few cells of the kill -9 matrix; `python -m bench.faults` is all of it, as a table."""

from __future__ import annotations

import pytest
from bench.faults import PROCESSES, Case, run_cell
from bench.faults_controller import api

from oriel.host.layout import Home
from tests.integration.hosts import KEEPING_HOSTD, hosted
from tests.integration.test_keeper_life import home, run

__all__ = ["home"]  # the fixture

# Where each may come to rest. A start that was quicker than our kill is one that runs.
CELLS = {
    ("start", "begin.agent"): dict.fromkeys(PROCESSES, ("running", "failed")) | {"controller": ("running",)},
    ("pause", "state.pausing"): dict.fromkeys(PROCESSES, ("paused", "running", "failed")),
    ("fork", "step.machine"): {"keeper": ("running", "failed"), "controller": ("running",)},
    ("delete", "state.deleting"): dict.fromkeys(PROCESSES, ("gone",)),
}


@pytest.mark.parametrize("cell", CELLS)
def test_whoever_is_killed_nothing_is_left_and_nothing_lies(home: Home, cell: tuple[str, str]) -> None:
    async def scenario() -> None:
        async with hosted(home, KEEPING_HOSTD) as host, api(host) as controller:
            for process, expected in CELLS[cell].items():
                found = await run_cell(host, controller, Case(*cell, process))
                # "-": it was too quick for us to kill.
                assert found in (*expected, "-"), (process, found)

    run(scenario)
