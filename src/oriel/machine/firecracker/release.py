"""The two programs of a Firecracker release: where they are, whether they will do, and installing them.

They are not part of Oriel: the operator downloads a release and `oriel doctor --install-firecracker FILE`
checks and installs it.
"""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from oriel.host import process
from oriel.host.layout import Home
from oriel.host.process import BASE_ENVIRONMENT
from oriel.model.errors import HostError, OrielError

__all__ = ["INSTALL_HINT", "Release", "check_machine", "examined", "installed", "refusal"]

INSTALL_HINT = (
    "download firecracker-vVERSION-x86_64.tgz and its .sha256.txt from the releases page of"
    " firecracker-microvm/firecracker, then `oriel doctor --install-firecracker FILE`"
)
OLDEST = (1, 15, 1)
FIRST_UNKNOWN = (2, 0, 0)  # versions are semantic: another major one may have another API
KNOWN_BAD: dict[tuple[int, int, int], str] = {
    (
        1,
        16,
        0,
    ): "its jailer refuses control groups behind links, and vsock stalls after a restore (#5959, #5958)",
}
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}  # <elf.h>
DEADLINE_S = 20


@dataclass(frozen=True)
class Release:
    """Programs that fit each other and this host."""

    firecracker: Path
    jailer: Path
    version: str


async def installed(home: Home) -> Release:
    """The home's own release, else the host's. HostError if there is none, or as `examined`."""
    return await examined(*_found(home))


def _found(home: Home) -> tuple[Path, Path]:
    ours = (home.firecracker / "firecracker", home.firecracker / "jailer")
    if all(path.exists() for path in ours):
        return ours
    found = [shutil.which(name, path=BASE_ENVIRONMENT["PATH"]) for name in ("firecracker", "jailer")]
    if found[0] and found[1]:
        return Path(found[0]), Path(found[1])
    missing = " and ".join(
        name for name, path in zip(("firecracker", "jailer"), found, strict=True) if not path
    )
    raise HostError(f"not installed: {missing}", hint=INSTALL_HINT)


async def examined(firecracker: Path, jailer: Path) -> Release:
    """Ask both for their version. HostError if one is for another machine, does not run, is too old or known
    to be bad, or if they do not belong together."""
    versions = []
    for path in (firecracker, jailer):
        await asyncio.to_thread(check_machine, path)
        versions.append(await _version(path))
    if versions[0] != versions[1]:
        raise HostError(
            f"{firecracker} is version {versions[0]}, {jailer} is {versions[1]}",
            hint="install both from one release",
        )
    if problem := refusal(versions[0]):
        raise HostError(problem, hint=INSTALL_HINT)
    return Release(firecracker, jailer, versions[0])


def refusal(version: str) -> str:
    """Why Oriel does not run this version; "" if it does."""
    numbers = tuple(map(int, version.partition("-")[0].split(".")))
    oldest = ".".join(map(str, OLDEST))
    if numbers < OLDEST:
        return f"Firecracker {version} is too old: {oldest} closed CVE-2026-5747, a way out of the machine"
    if numbers >= FIRST_UNKNOWN:
        return f"Firecracker {version} is not known here: {oldest} to the last 1.x are"
    if reason := KNOWN_BAD.get((numbers[0], numbers[1], numbers[2])):
        return f"Firecracker {version} is known to be bad: {reason}"
    return ""


def check_machine(program: Path) -> None:
    """HostError unless `program` is an ELF file for this host's processor."""
    try:
        with program.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise HostError(f"{program} cannot be read: {error.strerror}", hint=INSTALL_HINT) from error
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        raise HostError(f"{program} is no program", hint=INSTALL_HINT)
    (machine,) = struct.unpack_from("<H", head, 18)
    if machine != ELF_MACHINES.get(platform.machine()):
        theirs = {number: name for name, number in ELF_MACHINES.items()}.get(
            machine, f"ELF machine {machine}"
        )
        raise HostError(
            f"{program} is for {theirs}, and this host is {platform.machine()}", hint=INSTALL_HINT
        )


async def _version(program: Path) -> str:
    try:
        said = (await process.run([program, "--version"], deadline_s=DEADLINE_S)).stdout.decode(
            errors="replace"
        )
    except (OrielError, OSError) as error:
        raise HostError(f"{program} does not run: {error}", hint=INSTALL_HINT) from error
    found = re.search(r"v(\d+\.\d+\.\d+[-\w.]*)", said)
    if found is None:
        raise HostError(f"{program} tells no version: {said.strip()[:200]!r}", hint=INSTALL_HINT)
    return found[1]
