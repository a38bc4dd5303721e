"""Control groups on this host's own trees."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from oriel.host.cgroups import Cgroup, Limits

pytestmark = pytest.mark.anyio


@pytest.fixture
def group() -> Iterator[Cgroup]:
    made = Cgroup("d-test-cgroups")
    made.create(Limits(memory_mib=256, cpus=1, processes=50))
    yield made
    assert not made.exists, "the test left its group"


async def test_a_process_that_joins_while_the_group_is_taken_away_is_killed_too(
    group: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its starter was killed, and it had not joined yet when the members were."""
    late: list[subprocess.Popen[bytes]] = []
    kill = group.kill

    async def kill_and_be_joined(**options: float) -> None:
        await kill(**options)
        if not late:
            command = group.command(["sh", "-c", "echo; exec sleep 600"])
            late.append(subprocess.Popen(command, stdout=subprocess.PIPE))
            assert late[0].stdout is not None
            assert late[0].stdout.readline() == b"\n"  # it has joined, and become the program

    monkeypatch.setattr(group, "kill", kill_and_be_joined)
    await group.remove()
    assert late[0].wait(timeout=30) == -9
    assert late[0].stdout is not None
    late[0].stdout.close()
    await group.remove()
