"""Control groups of version 1, of both, and of version 2: where a machine's is, and what limits it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel.host import cgroups
from oriel.host.cgroups import PARENT, Cgroup, Limits
from oriel.host.mounts import Mount
from oriel.model.errors import HostError

LIMITS = Limits(memory_mib=256, cpus=1.5, processes=64, swap=False)
V1 = ("memory", "cpu,cpuacct", "pids", "systemd")


def host(monkeypatch: pytest.MonkeyPatch, root: Path, *, v1: bool, v2: bool) -> None:
    """Trees as directories, the files of a group as the kernel would make them with it."""
    found = []
    for name in V1 if v1 else ():
        (root / name).mkdir()
        found.append(Mount("0:1", "/", root / name, "cgroup", "cgroup"))
    if v2:
        (root / "unified" / PARENT).mkdir(parents=True)
        for group in (root / "unified", root / "unified" / PARENT):
            (group / "cgroup.controllers").write_text("" if v1 else "memory cpu pids")
            (group / "cgroup.subtree_control").write_text("")
        found.append(Mount("0:2", "/", root / "unified", "cgroup2", "cgroup2"))
    monkeypatch.setattr(cgroups, "read_mounts", lambda: found)


def told(root: Path) -> dict[str, str]:
    """The limits that were written, by file."""
    return {
        str(file.relative_to(root)): file.read_text()
        for file in root.glob(f"*/{PARENT}/d-x/*")
        if file.is_file()
    }


def test_version_1_alone_is_refused_with_what_to_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host(monkeypatch, tmp_path, v1=True, v2=False)
    with pytest.raises(HostError, match="no cgroup version 2 tree is mounted") as raised:
        Cgroup("d-x")
    assert raised.value.hint == "mount -t cgroup2 none /sys/fs/cgroup/unified"


def test_beside_version_2_the_controllers_of_version_1_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host(monkeypatch, tmp_path, v1=True, v2=True)
    group = Cgroup("d-x")
    group.create(LIMITS)
    assert {str(place.relative_to(tmp_path)) for place in group.directories} == {
        f"{tree}/{PARENT}/d-x" for tree in ("unified", *V1)
    }
    assert told(tmp_path) == {
        f"memory/{PARENT}/d-x/memory.limit_in_bytes": str(256 << 20),
        f"cpu,cpuacct/{PARENT}/d-x/cpu.cfs_period_us": "100000",
        f"cpu,cpuacct/{PARENT}/d-x/cpu.cfs_quota_us": "150000",
        f"pids/{PARENT}/d-x/pids.max": "64",
    }


def test_version_2_alone_hands_its_controllers_on_and_limits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host(monkeypatch, tmp_path, v1=False, v2=True)
    group = Cgroup("d-x")
    group.directories[0].mkdir(parents=True)
    (group.directories[0] / "memory.swap.max").write_text("max")  # where the kernel can swap
    group.create(LIMITS)
    assert told(tmp_path) == {
        f"unified/{PARENT}/d-x/memory.max": str(256 << 20),
        f"unified/{PARENT}/d-x/memory.swap.max": "0",
        f"unified/{PARENT}/d-x/cpu.max": "150000 100000",
        f"unified/{PARENT}/d-x/pids.max": "64",
    }
    for tree in ("unified", f"unified/{PARENT}"):
        assert (tmp_path / tree / "cgroup.subtree_control").read_text().startswith("+")


def test_a_group_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host(monkeypatch, tmp_path, v1=False, v2=True)
    (tmp_path / "unified" / PARENT / "d-x").write_text("in the way")
    with pytest.raises(HostError, match="the control group d-x cannot be set up"):
        Cgroup("d-x").create(LIMITS)
