"""What the controller may ask of the hosts that run desktops.

Every call raises UnavailableError, with a hint, when the host's service does not answer, and
otherwise the service's own error. None retries by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from oriel.fleet.keeper import Keeper
from oriel.model.spec import DesktopSpec, Isolation, Runtime

__all__ = ["Capacity", "Fleet", "Occupant", "RuntimeReport"]


@dataclass(frozen=True, kw_only=True)
class RuntimeReport:
    """Whether a runtime was proven to work on the host, and what to do if not."""

    name: Runtime
    works: bool
    isolation: Isolation
    detail: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A desktop as its host finds it on disk. `alive`: its keeper answers. `spare`: nobody's yet, or a
    template's maker; `warm`: it is ready to become somebody's."""

    id: str
    name: str
    alive: bool
    spare: bool = False
    warm: bool = False


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a host has, in MiB; `vcpus` counts its processors, `memory_free_mib` is what is left now.

    `busy`: the share of its processors in use, 0 to 1, since it was last asked; `load`: over the last minute,
    the tasks that wanted a processor.
    """

    vcpus: int
    memory_mib: int
    memory_free_mib: int
    disk_mib: int
    disk_free_mib: int
    busy: float = 0.0
    load: float = 0.0


class Fleet(Protocol):
    """The hosts. One for now; ids are unique over all of them."""

    async def runtimes(self) -> list[RuntimeReport]:
        """Proven once per boot of the host: the first call may take as long as a test boot."""
        ...

    async def capacity(self) -> Capacity: ...

    async def occupants(self) -> list[Occupant]: ...

    async def create(self, spec: DesktopSpec, *, origin: tuple[str, str] | None = None) -> None:
        """Once this returns its keeper answers; the machine is not started. StateError if it exists.

        `origin`: the desktop and the snapshot of it that the new one begins as.
        """
        ...

    async def remove(self, desktop_id: str) -> None:
        """Once this returns nothing is left of that desktop. It need not exist."""
        ...

    async def renew(self) -> dict[str, Any]:
        """`{renewed: [id…], problems: […]}` once every keeper runs the host service's own version."""
        ...

    def keeper(self, desktop_id: str) -> Keeper:
        """Asks nothing yet."""
        ...

    async def images(self) -> list[dict[str, Any]]: ...

    async def delete_image(self, image_id: str) -> None: ...

    def build_image(self, recipe: str) -> AsyncIterator[Mapping[str, Any]]:
        """Each line of progress; the last one has `done` and `image`."""
        ...

    async def templates(self) -> list[dict[str, Any]]: ...

    async def delete_template(self, template_id: str) -> None: ...

    def build_template(self, spec: Mapping[str, Any], *, settle_s: float) -> AsyncIterator[Mapping[str, Any]]:
        """`spec`: image, runtime and sizes; `settle_s`: for how long it is left alone first.

        Each line of progress; the last has `done` and `template`.
        """
        ...

    async def checks(self) -> list[dict[str, Any]]:
        """What `oriel doctor` shows of the host."""
        ...
