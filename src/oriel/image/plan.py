"""From a recipe to a plan: layers, each with the hash of all that goes into it. Pure, but for reading files.

    base     the distribution's packages and kernel      (minutes; from the mirror)
    tools    npm packages                                (seconds; from the registry)
    files    guest/rootfs, the agent, the model, overlays
    final    units, links, initrd, how all is packed

`base` and `tools` stand beside each other and are kept in the cache under their keys. The image's version
is the hash of all four.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oriel.image.recipe import Recipe
from oriel.model.errors import HostError, InvalidError

__all__ = ["Plan", "Sources", "make_plan", "tree"]

# Counted up when the same recipe shall be built differently: old layers, or old images, are then left alone.
BASE_FORMAT = 3
TOOLS_FORMAT = 1
FINAL_FORMAT = 4
VERSION_DIGITS = 12


@dataclass(frozen=True)
class Sources:
    """The repository that images are built from."""

    root: Path

    @staticmethod
    def here() -> Sources:
        """The repository this code stands in. HostError if only the package is here."""
        root = Path(__file__).resolve().parents[3]
        if not (root / "guest" / "rootfs").is_dir():
            raise HostError(f"{root} has no guest/rootfs", hint="images are built from a checkout of Oriel")
        return Sources(root)

    @property
    def recipes(self) -> Path:
        return self.root / "recipes"

    @property
    def initrd(self) -> Path:
        return self.root / "guest" / "initrd"

    @property
    def landings(self) -> list[tuple[Path, str]]:
        """What is copied into the image, and where it lands."""
        return [
            (self.root / "guest" / "rootfs", ""),
            (self.root / "guest" / "agent", "usr/lib/oriel/agent"),
            (self.root / "src" / "oriel" / "model", "usr/lib/oriel/oriel/model"),
            (self.root / "src" / "oriel" / "__init__.py", "usr/lib/oriel/oriel/__init__.py"),
        ]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to build. `files`: (source, landing) in the order in which they are laid over each other."""

    recipe: Recipe
    base_key: str
    tools_key: str
    files_key: str
    version: str
    files: tuple[tuple[Path, str], ...]
    initrd: Path

    @property
    def image_id(self) -> str:
        return f"{self.recipe.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """For the manifest: keys and recipe, without paths of this host."""
        recipe = asdict(self.recipe)
        recipe["overlays"] = [path.name for path in self.recipe.overlays]
        keys = {"base": self.base_key, "tools": self.tools_key, "files": self.files_key}
        return {"version": self.version, "layers": keys, "recipe": recipe}


def make_plan(recipe: Recipe, sources: Sources) -> Plan:
    """Raises InvalidError if an overlay of the recipe is missing."""
    for overlay in recipe.overlays:
        if not overlay.is_dir():
            raise InvalidError(
                f"the recipe {recipe.name!r} lays {overlay} over the image, which is no directory",
                hint="files.overlays are paths relative to the recipe's file",
            )
    files = [*sources.landings, *((overlay, "") for overlay in recipe.overlays)]
    base = _hash({
        "format": BASE_FORMAT, "distribution": recipe.distribution, "suite": recipe.suite,
        "components": recipe.components, "kernel": recipe.kernel, "packages": sorted(recipe.packages),
        "exclude": recipe.exclude,
    })  # fmt: skip
    tools = _hash({"format": TOOLS_FORMAT, "tools": dict(recipe.tools)})
    landed = _hash([(landing, _digest(source)) for source, landing in files])
    version = _hash({
        "format": FINAL_FORMAT, "base": base, "tools": tools, "files": landed,
        "initrd": _digest(sources.initrd), "modules": recipe.modules, "links": dict(recipe.links),
        "enable": recipe.enable, "mask": recipe.mask, "locale": recipe.locale, "timezone": recipe.timezone,
    })  # fmt: skip
    return Plan(
        recipe=recipe,
        base_key=base,
        tools_key=tools,
        files_key=landed,
        version=version[:VERSION_DIGITS],
        files=tuple(files),
        initrd=sources.initrd,
    )


def tree(source: Path) -> Iterator[tuple[Path, str]]:
    """Everything below `source` that belongs into an image, sorted, with its relative path."""
    if not source.is_dir():
        yield source, ""
        return
    for directory, names, files in os.walk(source):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted([*names, *files]):
            path = Path(directory, name)
            if path.suffix != ".pyc":
                yield path, str(path.relative_to(source))


def _digest(source: Path) -> str:
    """Of names, kinds, executability and contents: what git keeps, and no more."""
    entries: list[tuple[str, str, str]] = []
    for path, name in tree(source):
        if path.is_symlink():
            entries.append((name, "link", str(path.readlink())))
        elif path.is_file():
            kind = "program" if path.stat().st_mode & 0o100 else "file"
            entries.append((name, kind, hashlib.sha256(path.read_bytes()).hexdigest()))
    return _hash(sorted(entries))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
