"""Which programs are taken for Firecracker, and how a downloaded release is installed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import pytest

from oriel.host.layout import Home
from oriel.machine.firecracker.install import install
from oriel.machine.firecracker.release import check_machine, examined, installed, refusal
from oriel.model.errors import HostError, InvalidError, OrielError

ARM, AMD = 183, 62


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("1.15.1", ""), ("1.16.1", ""), ("1.17.0-dev", ""),
        ("1.15.0", "CVE-2026-5747"), ("0.25.2", "too old"),
        ("1.16.0", "known to be bad"), ("2.0.0", "not known"),
    ],
)  # fmt: skip
def test_a_version_is_taken_or_refused_with_the_reason(version: str, why: str) -> None:
    assert (refusal(version) == "") == (why == "")
    assert why in refusal(version)


def elf(machine: int, rest: bytes = b"") -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(44) + rest


def program(said: str) -> bytes:
    """A whole program for this processor that says `said`, whatever it is asked: write(2), exit(2)."""
    text = said.encode() + b"\n"
    code = (
        b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00\x48\x8d\x35\x10\x00\x00\x00\xba"
        + struct.pack("<I", len(text))
        + b"\x0f\x05\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05" + text
    )  # fmt: skip
    base, head, size = 0x400000, 64 + 56, 64 + 56 + len(code)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, AMD, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def pair(directory: Path, firecracker: str, jailer: str) -> tuple[Path, Path]:
    """Programs that tell these versions."""
    made = directory / "firecracker", directory / "jailer"
    for path, said in zip(made, (firecracker, jailer), strict=True):
        path.write_bytes(program(said))
        path.chmod(0o755)
    return made


def test_programs_that_fit_are_taken_with_their_version(tmp_path: Path) -> None:
    found = asyncio.run(examined(*pair(tmp_path, "Firecracker v1.16.1", "Jailer v1.16.1")))
    assert found.version == "1.16.1"


@pytest.mark.parametrize(
    ("firecracker", "jailer", "why"),
    [
        ("Firecracker v1.16.1", "Jailer v1.15.1", "is version 1.16.1, .*jailer is 1.15.1"),
        ("Firecracker v1.14.2", "Jailer v1.14.2", "1.14.2 is too old: 1.15.1 closed CVE-2026-5747"),
        ("Firecracker v1.16.0", "Jailer v1.16.0", "1.16.0 is known to be bad"),
        ("Firecracker v2.1.0", "Jailer v2.1.0", "2.1.0 is not known here"),
        ("QEMU emulator version 7.2", "Jailer v1.16.1", "tells no version: 'QEMU emulator version 7.2'"),
    ],
)
def test_programs_that_do_not_fit_are_refused_by_what_they_say(
    tmp_path: Path, firecracker: str, jailer: str, why: str
) -> None:
    with pytest.raises(HostError, match=why) as raised:
        asyncio.run(examined(*pair(tmp_path, firecracker, jailer)))
    assert raised.value.hint


def test_a_bad_release_leaves_the_good_one_and_a_good_one_replaces_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    for version, refused_for in (("1.15.1", ""), ("1.16.0", "known to be bad"), ("1.16.1", "")):
        home.probes.parent.mkdir(parents=True, exist_ok=True)
        home.probes.write_text("{}")
        said = {"firecracker": program(f"Firecracker v{version}"), "jailer": program(f"Jailer v{version}")}
        if refused_for:
            with pytest.raises(HostError, match=refused_for):
                asyncio.run(install(home, archive(tmp_path, said)))
            assert home.probes.exists()
            assert asyncio.run(installed(home)).version == "1.15.1"
        else:
            assert asyncio.run(install(home, archive(tmp_path, said))).version == version
            assert asyncio.run(installed(home)).version == version
            assert not home.probes.exists(), "what a test boot proved was another release"
    assert sorted(path.name for path in home.root.iterdir() if "firecracker" in path.name) == ["firecracker"]


def test_a_program_for_another_processor_is_named(tmp_path: Path) -> None:
    program = tmp_path / "firecracker"
    program.write_bytes(elf(ARM))
    with pytest.raises(HostError, match=r"is for aarch64, and this host is"):
        check_machine(program)
    program.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(HostError, match="is no program"):
        check_machine(program)
    with pytest.raises(HostError, match="cannot be read"):
        check_machine(tmp_path / "missing")


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    for name in ("firecracker", "jailer"):
        (tmp_path / name).write_bytes(elf(AMD))
        (tmp_path / name).chmod(0o755)
    with pytest.raises(HostError, match="does not run"):
        asyncio.run(examined(tmp_path / "firecracker", tmp_path / "jailer"))


def test_without_a_release_the_operator_learns_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oriel.machine.firecracker.release.BASE_ENVIRONMENT", {"PATH": str(tmp_path)})
    with pytest.raises(HostError, match="not installed: firecracker and jailer") as raised:
        asyncio.run(installed(Home(tmp_path)))
    assert "--install-firecracker" in raised.value.hint


def archive(directory: Path, programs: dict[str, bytes]) -> Path:
    """A release archive as published, with its sum beside it."""
    path = directory / "firecracker-v1.16.1-x86_64.tgz"
    with tarfile.open(path, "w:gz") as release:
        for name, content in programs.items():
            member = tarfile.TarInfo(f"release-v1.16.1-x86_64/{name}-v1.16.1-x86_64")
            member.size = len(content)
            release.addfile(member, io.BytesIO(content))
    write_sum(path, hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def write_sum(path: Path, value: str) -> None:
    path.with_name(f"{path.name}.sha256.txt").write_text(f"{value}  {path.name}\n")


def refused(tmp_path: Path, path: Path, sha256: str = "") -> str:
    """The message with which installing it fails; nothing is installed then."""
    home = Home(tmp_path / "home")
    home.root.mkdir(exist_ok=True)
    with pytest.raises(OrielError) as raised:
        asyncio.run(install(home, path, sha256))
    assert list(home.root.iterdir()) == []
    return raised.value.message


def test_an_archive_is_taken_only_with_its_sum(tmp_path: Path) -> None:
    path = archive(tmp_path, {"firecracker": elf(AMD), "jailer": elf(AMD)})
    write_sum(path, "0" * 64)
    assert "and not 0000" in refused(tmp_path, path)
    assert "is no SHA-256 sum" in refused(tmp_path, path, "abc")
    path.with_name(f"{path.name}.sha256.txt").unlink()
    assert "nothing vouches" in refused(tmp_path, path)


def test_what_is_no_release_or_another_machines_is_refused(tmp_path: Path) -> None:
    assert "has no jailer" in refused(tmp_path, archive(tmp_path, {"firecracker": elf(AMD)}))
    foreign = archive(tmp_path, {"firecracker": elf(ARM), "jailer": elf(ARM)})
    assert "is for aarch64" in refused(tmp_path, foreign)
    foreign.write_bytes(b"no archive")
    write_sum(foreign, hashlib.sha256(b"no archive").hexdigest())
    assert "cannot be read" in refused(tmp_path, foreign)
    with pytest.raises(InvalidError, match="cannot be read"):
        asyncio.run(install(Home(tmp_path / "home"), tmp_path / "absent.tgz", "0" * 64))
