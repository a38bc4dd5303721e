"""What of ours is on this host: for proving that nothing was left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Where the homes of tests stand, unless told otherwise. Not under /tmp or /root: the controller's and the
# VMM's users must be able to reach it.
TEST_HOME = Path(os.environ.get("ORIEL_TEST_HOME", "/var/lib/oriel-test"))

# Words that only our own processes have in their command lines.
OURS = (
    "oriel.keeper",
    "oriel.egress",
    "oriel.hostd",
    "oriel.controller",
    "oriel.cli.main",
    "systemd-nspawn",
    "qemu-system",
)


@dataclass(frozen=True)
class Inventory:
    """Sets of names, one per kind of thing that can leak."""

    processes: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    loops: frozenset[str]
    links: frozenset[str]
    slots: frozenset[str]
    cgroups: frozenset[str]

    @staticmethod
    def take() -> Inventory:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        loops = subprocess.run(
            ["losetup", "--noheadings", "--output", "NAME,BACK-FILE"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        cgroups = Path("/sys/fs/cgroup").glob("**/oriel/*")
        return Inventory(
            processes=frozenset(_processes()),
            namespaces=_names(Path("/run/netns"), "oriel-"),
            mounts=frozenset(line.split()[4] for line in mounts if "oriel" in line),
            loops=frozenset(line for line in loops if f"{TEST_HOME}/" in line or " /tmp/" in line),
            links=_names(Path("/sys/class/net"), ""),
            slots=_names(Path("/run/oriel/slots"), ""),
            cgroups=frozenset(str(path) for path in cgroups if path.is_dir()),
        )

    def beyond(self, before: Inventory) -> list[str]:
        """What is here now and was not there `before`, one line each."""
        found = []
        for kind in self.__dataclass_fields__:
            for name in sorted(getattr(self, kind) - getattr(before, kind)):
                found.append(f"{kind}: {name}")
        return found

    def of(self, desktop_id: str) -> list[str]:
        """Everything that names one desktop."""
        empty = Inventory(*[frozenset()] * len(self.__dataclass_fields__))
        return [line for line in self.beyond(empty) if desktop_id in line]


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            line = " ".join(words)
            if any(word in line for word in OURS) and "pytest" not in line:
                found.append(f"{entry.name} {line}")
    return found


def _names(directory: Path, prefix: str) -> frozenset[str]:
    if not directory.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in directory.iterdir() if entry.name.startswith(prefix))
