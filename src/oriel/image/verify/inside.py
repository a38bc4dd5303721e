"""A way into a booted image, and what a check says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Facts", "Inside", "Verdict"]


class Inside(Protocol):
    """A booted image. Everything raises OrielError if the guest is out of reach."""

    async def sh(self, script: str, *, user: str = "root", timeout_s: float = 120) -> tuple[int, str]:
        """Run a script in a login shell of `user`: its exit code and output, errors after it."""
        ...

    async def exec(self, argv: Sequence[str], *, timeout_s: float = 120) -> tuple[int, str]:
        """Run a program as the desktop's user, without any shell."""
        ...

    async def windows(self) -> list[dict[str, Any]]:
        """The windows on the screen, as the agent's verb `windows` tells them."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What one check found; `detail` is for people."""

    id: str
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True)
class Facts:
    """/usr/lib/oriel/image.json: what the image was built to be."""

    tools: Mapping[str, str]
    units: Sequence[str]

    @staticmethod
    async def of(inside: Inside) -> Facts:
        _, text = await inside.sh("cat /usr/lib/oriel/image.json")
        told = json.loads(text)
        return Facts(told["tools"], told["units"])

    @property
    def services(self) -> list[str]:
        """Those that run from the beginning."""
        return [unit for unit in self.units if unit.endswith(".service")]

    @property
    def called(self) -> list[str]:
        """Those behind a socket, which run once somebody comes."""
        return [f"{unit.removesuffix('.socket')}.service" for unit in self.units if unit.endswith(".socket")]
