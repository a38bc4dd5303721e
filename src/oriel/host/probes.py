"""What test boots have proven of this host, kept for one boot of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.host.records import read_json, write_json

__all__ = ["boot_id", "cpu_model", "read_probes", "write_probes"]


def boot_id() -> str:
    """Changes whenever the host starts: processes and proofs recorded under another one are void."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def cpu_model() -> str:
    """The host's processor as it names itself, with the microcode: what a guest may see of it."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return " ".join(fields.get(key, "") for key in ("model name", "stepping", "microcode")).strip()


def read_probes(home: Home) -> tuple[str, dict[str, dict[str, Any]]]:
    """The image they were made with ("": none), and `{RUNTIME: {works, isolation, detail, hint}}`.

    Nothing if none was made since the host started.
    """
    data = read_json(home.probes) or {}
    if data.get("boot_id") != boot_id():
        return "", {}
    return str(data.get("image", "")), dict(data.get("runtimes", {}))


def write_probes(home: Home, image: str, runtimes: Mapping[str, Mapping[str, Any]]) -> None:
    write_json(home.probes, {"boot_id": boot_id(), "image": image, "runtimes": dict(runtimes)})
