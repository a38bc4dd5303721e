"""Kinds of desktops: those that differ in name and owner only can begin at one template, or be made ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from oriel.controller.store.desktops import Desktop
from oriel.model.spec import DesktopSpec, Runtime, Screen

__all__ = ["SPARE", "Kind"]

SPARE = "spare"  # the name and the session of a desktop that is nobody's yet


@dataclass(frozen=True, kw_only=True)
class Kind:
    image: str
    runtime: Runtime
    vcpus: int
    memory_mib: int
    disk_gib: int
    screen: Screen

    @staticmethod
    def of(one: Desktop | DesktopSpec) -> Kind:
        return Kind.read(one.spec().to_json() if isinstance(one, Desktop) else one.to_json())

    @staticmethod
    def read(shape: Mapping[str, Any]) -> Kind:
        """From JSON that has these fields among others. KeyError, ValueError, TypeError for what is none."""
        return Kind(
            image=str(shape["image"]), runtime=Runtime(shape["runtime"]), vcpus=int(shape["vcpus"]),
            memory_mib=int(shape["memory_mib"]), disk_gib=int(shape["disk_gib"]),
            screen=Screen(**shape["screen"]),
        )  # fmt: skip

    @property
    def begins_at_templates(self) -> bool:
        """A container starts at once; a machine would have to boot."""
        return self.runtime is not Runtime.CONTAINER

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"runtime": str(self.runtime)}

    def spare(self, desktop_id: str) -> DesktopSpec:
        """One of this kind that waits for its name."""
        return DesktopSpec(
            id=desktop_id, name=SPARE, session_id=SPARE, spare=True, image=self.image, runtime=self.runtime,
            vcpus=self.vcpus, memory_mib=self.memory_mib, disk_gib=self.disk_gib, screen=self.screen,
        )  # fmt: skip
