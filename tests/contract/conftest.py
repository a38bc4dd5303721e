"""The place of each test's machine, on every driver of the contract."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oriel.host import slots
from oriel.host.mounts import mounts_below
from oriel.machine.driver import ImageFiles
from oriel.machine.firecracker.probe import probe
from tests.contract.machines import Place, make_place, release

REAL = (
    pytest.param("firecracker", marks=pytest.mark.firecracker),
    pytest.param("container", marks=pytest.mark.container),
    pytest.param("qemu", marks=pytest.mark.emulated),
)
FAKE = ("firecracker-api", "never-ready", "slow", "stubborn")


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Path:
    """The golden image; ORIEL_TEST_IMAGE names another directory with the four files."""
    if chosen := os.environ.get("ORIEL_TEST_IMAGE"):
        return Path(chosen)
    return request.getfixturevalue("golden_image")


@pytest.fixture(scope="session")
def hollow_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What looks like an image from outside, for fakes; readable by every uid, as a real one."""
    directory = tmp_path_factory.mktemp("hollow")
    for name in ("vmlinuz", "initrd", "root.erofs"):
        (directory / name).write_bytes(b"hollow")
    (directory / "vmlinux").write_bytes(b"\x7fELF hollow")
    with (directory / "disk.img").open("wb") as disk:
        os.truncate(disk.fileno(), 64 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", directory / "disk.img"], check=True)
    return directory


@pytest.fixture(scope="session")
def firecracker(request: pytest.FixtureRequest) -> None:
    """Skips where there is no Firecracker, or where this host's KVM runs no guest."""
    if "ORIEL_FIRECRACKER_BIN" not in os.environ:
        pytest.skip("ORIEL_FIRECRACKER_BIN is not set: Firecracker itself was not tried")
    image = request.getfixturevalue("image")
    found = asyncio.run(probe(release, ImageFiles.of(image)))
    if not found.works:
        pytest.skip(f"{found.detail}; `python -m tests.nested` brings a host of its own")


@pytest.fixture(params=[*REAL, *FAKE])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Every driver's."""
    yield from _place(request, request.param)


@pytest.fixture(params=REAL)
def real_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Those that boot the golden image."""
    yield from _place(request, request.param)


@pytest.fixture
def places(request: pytest.FixtureRequest) -> Callable[[str], Iterator[Place]]:
    """The place of a kind chosen by the test."""
    return lambda kind: _place(request, kind)


@pytest.fixture
def container_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from _place(request, "container")


def _place(request: pytest.FixtureRequest, kind: str) -> Iterator[Place]:
    if os.geteuid() != 0:
        pytest.fail("machines need root: run ./test as root")
    fake = kind in FAKE
    if kind == "firecracker":
        request.getfixturevalue("firecracker")
    image = request.getfixturevalue("hollow_image" if fake else "image")
    # Short: unix sockets have paths of at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="oriel-contract-", dir="/var/tmp"))
    made = make_place(kind, image, directory)
    yield made
    slots.release(directory, made.spec.desktop_id)
    if getattr(request.node, "failed", False) and made.spec.console.exists():
        print(f"console of {kind}:\n{made.spec.console.read_text(errors='replace')[-8000:]}")
    assert not mounts_below(directory), "a test left mounts"
    shutil.rmtree(directory)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report
