"""The short version of bench.soak: a program writes and syncs while its desktop is frozen or killed."""

from __future__ import annotations

from bench.soak import run

from oriel.client import Oriel
from oriel.host.layout import Home
from tests.conftest import Server


def test_nothing_synced_is_lost_in_a_container_that_is_frozen_and_killed(server: Server) -> None:
    with Oriel(server.url, server.token) as client:
        done = run(client, Home(server.home), "container", cycles=2, kills=2, seed=7)
    assert done["faults"] == []
    assert done["written"] > 0
