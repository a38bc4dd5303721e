"""From a recipe to a plan: layers, each with the hash of all that goes into it. Pure, but for reading files.

    base     the distribution's packages and kernel      (minutes; from the mirror)
    tools    npm packages                                (seconds; from the registry)
    files    guest/rootfs, the desktop's and the browser's files, the agent, the model, overlays
    final    units, links, what is removed, initrd, how all is packed

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
from oriel.model.errors import Fault, HostError, InvalidError

__all__ = ["EPOCH", "Plan", "Sources", "make_plan", "tree"]

# Counted up when the same recipe shall be built differently: old layers, or old images, are then left alone.
BASE_FORMAT = 4
TOOLS_FORMAT = 1
FINAL_FORMAT = 6
VERSION_DIGITS = 12
EPOCH = 1_700_000_000  # the date of everything in an image: the day of the build leaves no trace


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

    def choices(self, recipe: Recipe) -> list[tuple[str, Path]]:
        """The recipe's fields that choose a directory of guest/, and which."""
        guest = self.root / "guest"
        return [
            ("desktop", guest / "desktops" / recipe.desktop),
            ("browser", guest / "browsers" / recipe.browser),
        ]

    def landings(self, recipe: Recipe) -> list[tuple[Path, str]]:
        """What is copied into the image, and where it lands."""
        return [
            (self.root / "guest" / "rootfs", ""),
            *((directory, "") for _, directory in self.choices(recipe)),
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
    """Raises InvalidError naming every directory of the recipe that is missing."""
    if faults := _missing(recipe, sources):
        raise InvalidError.of(faults, hint=f"they are asked for by the recipe {recipe.name!r}")
    files = [*sources.landings(recipe), *((overlay, "") for overlay in recipe.overlays)]
    base = _hash({
        "format": BASE_FORMAT, "distribution": recipe.distribution, "suite": recipe.suite,
        "components": recipe.components, "kernel": recipe.kernel, "packages": sorted(recipe.packages),
        "unpacked": recipe.unpacked, "exclude": recipe.exclude, "sources": recipe.sources,
        "keys": recipe.keys, "pieces": dict(recipe.pieces),
    })  # fmt: skip
    tools = _hash({"format": TOOLS_FORMAT, "tools": dict(recipe.tools)})
    landed = _hash([(landing, _digest(source)) for source, landing in files])
    version = _hash({
        "format": FINAL_FORMAT, "base": base, "tools": tools, "files": landed,
        "initrd": _digest(sources.initrd), "modules": recipe.modules, "links": dict(recipe.links),
        "enable": recipe.enable, "mask": recipe.mask, "locale": recipe.locale, "timezone": recipe.timezone,
        "unused": recipe.unused, "first_boot": recipe.first_boot, "screen": asdict(recipe.screen),
        "layout": recipe.layout, "summary": recipe.summary, "name": recipe.name,
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


def _missing(recipe: Recipe, sources: Sources) -> list[Fault]:
    faults = [
        Fault("files.overlays", f"{overlay} is no directory (paths are relative to the recipe's file)")
        for overlay in recipe.overlays
        if not overlay.is_dir()
    ]
    for field, directory in sources.choices(recipe):
        if not directory.is_dir():
            known = sorted(item.name for item in directory.parent.glob("*/"))
            faults.append(Fault(field, f"{directory.name!r} is not one of {', '.join(known)}"))
    return faults


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
