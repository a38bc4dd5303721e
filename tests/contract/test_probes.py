"""What `doctor` says of a runtime that does not work here, and that trying it leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path

import pytest

from oriel.machine.driver import ImageFiles, Probe
from oriel.machine.firecracker import probe as firecracker
from oriel.machine.firecracker.release import Release
from oriel.machine.qemu import probe as qemu
from oriel.model.errors import HostError
from oriel.model.spec import Isolation

pytestmark = pytest.mark.usefixtures("need_root")


def tried(hollow_image: Path, tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """The probe, with a jailer that does as `script` says."""
    jailer, mark = tmp_path / "jailer", f"oriel-probe-test-{secrets.token_hex(4)}"
    jailer.write_text(f"#!/bin/bash\n{script.replace('STAY', f'exec -a {mark} sleep 600')}\n")
    jailer.chmod(0o755)
    monkeypatch.setattr(firecracker, "KVM_DEVICE", tmp_path)
    monkeypatch.setattr(firecracker, "SILENCE_S", 2)

    async def find() -> Release:
        return Release(tmp_path / "firecracker", jailer, "1.16.1")

    found = asyncio.run(firecracker.probe(find, ImageFiles.of(hollow_image)))
    assert not [line for line in commands() if mark in line]
    assert not list(Path("/var/tmp").glob("oriel-probe-*"))
    return found


def commands() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(entry.read_text(errors="replace"))
    return found


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("STAY", "did not come up: its kernel said nothing in 2 s"),
        ("echo 'Linux version 6'; STAY", "did not come up: its kernel runs, but got no further in 2 s"),
        ("echo 'KVM_RUN: internal error'; exit 1", "did not come up: KVM_RUN: internal error"),
        ("exit 1", "did not come up: it said nothing"),
    ],
)
def test_a_firecracker_that_boots_nothing(
    hollow_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, detail: str
) -> None:
    found = tried(hollow_image, tmp_path, script, monkeypatch)
    assert not found.works
    assert found.detail == f"a test boot of version 1.16.1 {detail}"
    assert "hardware virtualization" in found.hint


def test_a_firecracker_whose_programs_filter_nothing_is_told(
    hollow_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'Linux version 6'; echo oriel-probe-ok; STAY"
    found = tried(hollow_image, tmp_path, script, monkeypatch)
    assert (found.works, found.isolation) == (True, Isolation.VM)
    assert "without a filter" in found.detail


def test_a_host_without_kvm(hollow_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Firecracker; QEMU emulates. Both say what would help."""
    absent = tmp_path / "kvm"
    monkeypatch.setattr(firecracker, "KVM_DEVICE", absent)
    monkeypatch.setattr(qemu, "KVM_DEVICE", absent)

    async def find() -> Release:
        return Release(tmp_path / "firecracker", tmp_path / "jailer", "1.16.1")

    async def both() -> tuple[Probe, Probe]:
        image = ImageFiles.of(hollow_image)
        return await firecracker.probe(find, image), await qemu.probe(image)

    refused, emulated = asyncio.run(both())
    assert (refused.works, refused.detail) == (False, "there is no /dev/kvm")
    assert (emulated.works, emulated.isolation) == (True, Isolation.EMULATED_VM)
    assert emulated.detail == "there is no /dev/kvm: full emulation"
    assert "nested virtualization" in refused.hint
    assert "nested virtualization" in emulated.hint


def test_a_release_that_does_not_fit_says_so_in_its_own_words(hollow_image: Path) -> None:
    async def find() -> Release:
        raise HostError("Firecracker 1.0.0 is too old", hint="install 1.7 or newer")

    found = asyncio.run(firecracker.probe(find, ImageFiles.of(hollow_image)))
    assert (found.works, found.detail, found.hint) == (
        False, "Firecracker 1.0.0 is too old", "install 1.7 or newer",
    )  # fmt: skip
