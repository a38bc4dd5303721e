"""The two slow layers: the distribution's packages, and the tools from npm. Kept under their keys.

A layer is a directory that appears by a rename, so one that is there is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from oriel.host import process
from oriel.host.threads import in_thread
from oriel.image.plan import Plan
from oriel.image.progress import Progress, Tell, follow, trust_settings
from oriel.image.recipe import Recipe
from oriel.model.errors import HostError

__all__ = ["base_layer", "discard", "mmdebstrap_argv", "npm_argv", "sources_of", "tools_layer"]

BASE_DEADLINE_S = 1800
TOOLS_DEADLINE_S = 600
# Unpacked, not installed: the package would bring initramfs-tools, and a desktop never builds an initrd.
_KERNEL_HOOK = """set -e
chroot "$1" sh -euc 'cd /var/tmp
  package=$(apt-cache depends {kernel} | sed -n "s/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p" | head -n 1)
  apt-get download -q "${{package:-{kernel}}}"'
dpkg-deb -x "$1"/var/tmp/linux-image-*.deb "$1"
rm "$1"/var/tmp/linux-image-*.deb
"""
# Everything in an image has one date, so bytecode that is checked by its source's date would never be valid.
_BYTECODE_HOOK = (
    'chroot "$1" sh -euc "python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3*"'
)


async def base_layer(plan: Plan, cache: Path, tell: Tell) -> Path:
    """The directory tree of the base, built if it is not in the cache."""

    async def make(directory: Path) -> None:
        sources = sources_of(plan.recipe, await _apt_targets())
        argv = mmdebstrap_argv(plan.recipe, directory / "root", sources)
        await follow(
            argv,
            phase="base",
            log=directory / "log",
            on_line=lambda line: _tell_mmdebstrap(line, tell),
            env=trust_settings(),
            deadline_s=BASE_DEADLINE_S,
            where=f"the package mirror of {plan.recipe.distribution} {plan.recipe.suite}",
        )

    return await _cached(cache / f"base-{plan.base_key[:16]}", make, "base", tell) / "root"


async def tools_layer(plan: Plan, cache: Path, tell: Tell) -> Path:
    """The directory tree of the npm tools (below usr/local), built if it is not in the cache."""

    async def make(directory: Path) -> None:
        # Where npm reads its global settings depends on --prefix: name the one the host itself uses.
        settings = await process.run(["npm", "config", "get", "globalconfig"], env=_npm_environment())
        argv = npm_argv(plan.recipe, directory / "root", settings.stdout.decode().strip())
        await follow(
            argv,
            phase="tools",
            log=directory / "log",
            on_line=lambda _line: None,
            env=_npm_environment(),
            deadline_s=TOOLS_DEADLINE_S,
            where="the npm registry",
        )

    tell(Progress("tools", ", ".join(f"{name} {version}" for name, version in plan.recipe.tools.items())))
    return await _cached(cache / f"tools-{plan.tools_key[:16]}", make, "tools", tell) / "root"


def mmdebstrap_argv(recipe: Recipe, root: Path, sources: list[str]) -> list[str | Path]:
    """Install the recipe's packages into `root`, with apt sources as lines of sources.list."""
    return [
        *("mmdebstrap", "--variant=minbase", "--architectures=amd64"),
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.exclude),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-include=/usr/share/locale/locale.alias",
        f"--customize-hook={_BYTECODE_HOOK}",
        f"--customize-hook={_KERNEL_HOOK.format(kernel=recipe.kernel)}",
        *(recipe.suite, root),
        *sources,
    ]


def npm_argv(recipe: Recipe, root: Path, global_settings: str) -> list[str | Path]:
    """Install the recipe's tools below `root`/usr/local. Without install scripts: `links` do their work."""
    return [
        *("npm", "install", "--global", "--prefix", root / "usr/local", "--globalconfig", global_settings),
        *("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-timeout=60000"),
        *(f"{name}@{version}" for name, version in recipe.tools.items()),
    ]


def sources_of(recipe: Recipe, targets: list[tuple[str, str, str]]) -> list[str]:
    """Lines for sources.list, from the (origin, code name, URI) of what the host's own apt uses.

    A host of another distribution tells no mirror: then the list is empty and mmdebstrap takes its default.
    """
    origin = recipe.distribution.capitalize()
    main: dict[str, None] = {}
    security: dict[str, None] = {}
    for found, codename, uri in targets:
        if found == origin:
            (security if codename.endswith("-security") else main).setdefault(uri)
    if not main:
        return []
    mirror = next(iter(main))
    where = next(iter(security), None if recipe.distribution == "debian" else mirror)
    components = " ".join(recipe.components)
    lines = [f"deb {mirror} {suite} {components}" for suite in (recipe.suite, f"{recipe.suite}-updates")]
    if where is not None:
        lines.append(f"deb {where} {recipe.suite}-security {components}")
    return lines


async def _apt_targets() -> list[tuple[str, str, str]]:
    told = await process.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Identifier: Packages"]
    )
    rows = (line.split("|") for line in told.stdout.decode().splitlines())
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


async def _cached(layer: Path, make: Callable[[Path], Awaitable[None]], phase: str, tell: Tell) -> Path:
    if await in_thread(layer.is_dir):
        tell(Progress(phase, "in the cache"))
        return layer
    torn = layer.with_name(f".{layer.name}.new")
    await discard(torn)
    torn.mkdir()
    try:
        await make(torn)
        torn.rename(layer)
    finally:
        await discard(torn)
    return layer


async def discard(directory: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    if await in_thread(directory.exists):
        await in_thread(lambda: shutil.rmtree(directory))


def _tell_mmdebstrap(line: str, tell: Tell) -> None:
    if line.startswith("I: "):
        tell(Progress("base", line[3:]))


def _npm_environment() -> dict[str, str]:
    home = Path("~root").expanduser()
    if not home.is_dir():
        raise HostError("root has no home directory", hint="npm reads its settings there")
    return {"HOME": str(home), **trust_settings()}
