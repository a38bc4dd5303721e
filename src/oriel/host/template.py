"""What must be the same for a desktop to begin from a template instead of a cold boot."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from oriel.model.errors import Fault, InvalidError
from oriel.model.spec import DesktopSpec, Runtime, Screen

__all__ = ["TemplateKey", "check_template_key"]

_NAME = re.compile(r"[a-z]+-[0-9a-f]{12}\Z")


@dataclass(frozen=True, kw_only=True)
class TemplateKey:
    """Any difference here makes another template. `engine`: what the driver says of itself and the host.

    The size of the disk belongs to it because the guest has that file system mounted, and the size of the
    screen because its windows are laid out on it.
    """

    image: str
    runtime: Runtime
    engine: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    screen: Screen

    @staticmethod
    def of(spec: DesktopSpec, engine: str) -> TemplateKey:
        return TemplateKey(
            image=spec.image, runtime=spec.runtime, engine=engine, vcpus=spec.vcpus,
            memory_mib=spec.memory_mib, disk_gib=spec.disk_gib, screen=spec.screen,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Its directory's name: the runtime and a hash of all of it."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"{self.runtime}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"runtime": str(self.runtime)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> TemplateKey:
        """Raises KeyError, ValueError or TypeError for what is none."""
        return TemplateKey(
            **{**data, "runtime": Runtime(data["runtime"]), "screen": Screen(**data["screen"])}
        )


def check_template_key(value: str) -> str:
    """`value`, or InvalidError. It becomes part of a path."""
    if not _NAME.match(value):
        raise InvalidError.of([Fault("template", "must be RUNTIME-HASH, as `oriel template list` shows it")])
    return value
