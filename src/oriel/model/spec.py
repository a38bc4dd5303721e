"""What a desktop is asked to be. Values only; defaults and limits are declared here once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from oriel.model.errors import Fault, InvalidError

__all__ = [
    "DESKTOP_ID",
    "IMAGE_ID",
    "LIMITS",
    "NAME",
    "DesktopSpec",
    "Isolation",
    "Rates",
    "Runtime",
    "Screen",
    "check_desktop_id",
    "check_name",
]

# A name is also a host name inside the guest (RFC 1123 label), in lower case.
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
# Chosen by the controller, checked again by hostd: it becomes part of paths and of the namespace's name.
DESKTOP_ID = re.compile(r"d-[a-z2-7]{10}\Z")
# A recipe's name and the hash of its plan.
IMAGE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}@[0-9a-f]{12}\Z")


class Runtime(StrEnum):
    FIRECRACKER = "firecracker"
    QEMU = "qemu"
    CONTAINER = "container"


class Isolation(StrEnum):
    """What stands between a desktop and its host; always shown to the user."""

    VM = "vm"
    EMULATED_VM = "emulated-vm"
    CONTAINER = "container"


LIMITS: dict[str, tuple[int, int]] = {
    "vcpus": (1, 64),
    "memory_mib": (768, 262144),
    "disk_gib": (1, 4096),
    "screen.width": (320, 3840),
    "screen.height": (240, 2160),
    "idle_timeout_s": (0, 30 * 86400),
    "max_age_s": (0, 366 * 86400),
    "rates.disk_mib_s": (0, 1 << 20),
    "rates.disk_ops_s": (0, 1 << 24),
    "rates.network_mib_s": (0, 1 << 20),
}


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Size of the desktop's display, in pixels."""

    width: int = 1280
    height: int = 720


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast a desktop's devices may be, over a second; 0 is no limit. Firecracker's only."""

    disk_mib_s: int = 0
    disk_ops_s: int = 0
    network_mib_s: int = 0  # each way

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return any(getattr(self, item.name) for item in fields(self))

    def to_json(self) -> dict[str, int]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, kw_only=True)
class DesktopSpec:
    """One desktop as asked for. `image` is an image's id (`NAME@VERSION`); `runtime` is already decided.

    `spare`: nobody's yet. It waits in the warm pool for its name and session, or makes a template.
    """

    id: str
    name: str
    session_id: str
    runtime: Runtime
    image: str
    vcpus: int = 2
    memory_mib: int = 2048
    disk_gib: int = 8
    screen: Screen = field(default_factory=Screen)
    rates: Rates = field(default_factory=Rates)
    spare: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` turns back into an equal spec."""
        data: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        data["runtime"] = str(self.runtime)
        data["screen"] = {"width": self.screen.width, "height": self.screen.height}
        data["rates"] = self.rates.to_json()
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DesktopSpec:
        """Parse and check. Raises InvalidError naming every field that is wrong, and why."""
        faults = _spec_faults(data)
        if faults:
            raise InvalidError.of(faults)
        values = {key: value for key, value in data.items() if key not in ("screen", "rates", "runtime")}
        screen, rates = Screen(**data.get("screen", {})), Rates(**data.get("rates", {}))
        return DesktopSpec(**values, runtime=Runtime(data["runtime"]), screen=screen, rates=rates)


def _spec_faults(data: Mapping[str, Any]) -> list[Fault]:
    known = {item.name for item in fields(DesktopSpec)}
    faults = [Fault(key, "unknown field") for key in sorted(set(data) - known)]
    for key, pattern, what in (
        ("id", DESKTOP_ID, "d- and ten of a-z2-7"),
        ("name", NAME, "1 to 63 of a-z, 0-9 and -, not beginning or ending with -"),
        ("session_id", re.compile(r"[A-Za-z0-9_.-]{1,64}\Z"), "1 to 64 of A-Z a-z 0-9 _ . -"),
        ("image", IMAGE_ID, "NAME@VERSION"),
    ):
        value = data.get(key)
        if not isinstance(value, str) or not pattern.match(value):
            faults.append(Fault(key, f"must be {what}"))
    if data.get("runtime") not in list(Runtime):
        faults.append(Fault("runtime", f"must be one of {', '.join(Runtime)}"))
    if not isinstance(data.get("spare", False), bool):
        faults.append(Fault("spare", "must be true or false"))
    numbers = {key: data[key] for key in ("vcpus", "memory_mib", "disk_gib") if key in data}
    for key, parts in (("screen", fields(Screen)), ("rates", fields(Rates))):
        names, value = [item.name for item in parts], data.get(key, {})
        if not isinstance(value, Mapping) or set(value) - set(names):
            faults.append(Fault(key, f"must be an object with {' and '.join(names)}"))
        else:
            numbers |= {f"{key}.{name}": number for name, number in value.items()}
    faults.extend(fault for key, value in numbers.items() if (fault := _limit_fault(key, value)))
    return faults


def _limit_fault(key: str, value: object) -> Fault | None:
    low, high = LIMITS[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        return Fault(key, f"must be a whole number from {low} to {high}")
    return None


def check_name(name: str, what: str = "name") -> str:
    """`name`, or InvalidError saying what a name may be."""
    if not NAME.match(name):
        problem = "must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -"
        raise InvalidError.of([Fault(what, problem)])
    return name


def check_desktop_id(value: str) -> str:
    """`value`, or InvalidError. Everything that builds a path from an id calls this first."""
    if not DESKTOP_ID.match(value):
        raise InvalidError.of([Fault("id", "must be d- and ten of a-z2-7")])
    return value
