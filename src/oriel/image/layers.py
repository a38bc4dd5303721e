"""The two slow layers: the distribution's packages, and the tools from npm. Kept under their keys.

A layer is a directory that appears by a rename, so one that is there is whole.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from oriel.host import process
from oriel.host.mounts import unmount_below
from oriel.host.threads import in_thread
from oriel.image.plan import EPOCH, Plan
from oriel.image.progress import Progress, Tell, follow, trust_settings
from oriel.image.recipe import Recipe
from oriel.image.sources import (
    apt_targets,
    fetch_keys,
    further_sources,
    guest_sources,
    sources_of,
    whereabouts,
)
from oriel.model.errors import HostError

__all__ = ["base_layer", "discard", "mmdebstrap_argv", "npm_argv", "pieces_hook", "tools_layer"]

BASE_DEADLINE_S = 1800
TOOLS_DEADLINE_S = 600
# Unpacked, not installed: the kernel would bring initramfs-tools, and a desktop never builds an initrd.
# Ubuntu has the modules in a package of their own. Arguments: root, kernel, packages alone.
_UNPACK = r"""set -eu
root=$1 kernel=$2
shift 2
place=$root/var/tmp/unpacked
mkdir -p "$place" "$root/usr/lib/oriel"
found() { chroot "$root" apt-cache depends "$1" | sed -n "s/.*Depends: \($2-[0-9].*\)/\1/p" | head -n 1; }
image=$(found "$kernel" linux-image)
image=${image:-$kernel}
modules=$(found "$image" linux-modules)
chroot "$root" sh -euc 'cd /var/tmp/unpacked && apt-get download -q "$@"' sh "$image" $modules "$@"
for package in "$place"/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -f - -C "$root"
  dpkg-deb -W --showformat '${Package}\t${Version}\t${Architecture}\t${Installed-Size}\n' "$package"
done >"$root/usr/lib/oriel/unpacked"
rm -r "$place"
"""
# Of a package that would bring along a hundred times what it is wanted for: some files.
_PIECES_HOOK = r"""set -eu
place=$1/var/tmp/pieces
mkdir -p "$place"
chroot "$1" sh -euc "cd /var/tmp/pieces && apt-get download -q {package}"
dpkg-deb --fsys-tarfile "$place"/*.deb | tar -x --keep-directory-symlink --wildcards -C "$1" {patterns}
format="\${{Package}}\t\${{Version}}\t\${{Architecture}}\t\${{Installed-Size}}\n"
dpkg-deb -W --showformat "$format" "$place"/*.deb >>"$1/usr/lib/oriel/unpacked"
rm -r "$place"
"""
# Everything in an image has one date, so bytecode that is checked by its source's date would never be valid.
_BYTECODE_HOOK = (
    'chroot "$1" sh -euc "python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3*"'
)


async def base_layer(plan: Plan, cache: Path, tell: Tell) -> Path:
    """The directory tree of the base, built if it is not in the cache."""

    async def make(directory: Path) -> None:
        hooks = directory / "hooks"
        (hooks / "keyrings").mkdir(parents=True)
        keys = await fetch_keys(plan.recipe.keys, hooks / "keyrings")
        theirs = await guest_sources(plan.recipe, keys, directory / "probe")
        ours = sources_of(plan.recipe, await apt_targets())
        (hooks / "unpack").write_text(_UNPACK)
        (hooks / "sources.list").write_text("".join(f"{line}\n" for line in theirs))
        sources = [*ours, *further_sources(plan.recipe, keys)]
        argv = mmdebstrap_argv(plan.recipe, directory / "root", sources, hooks)
        where, remedy = whereabouts(plan.recipe, ours or theirs)
        await follow(
            argv,
            phase="base",
            log=directory / "log",
            on_line=lambda line: _tell_mmdebstrap(line, tell),
            env=trust_settings() | {"SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"},
            deadline_s=BASE_DEADLINE_S,
            where=where,
            remedy=remedy,
        )

    return await _cached(cache / f"base-{plan.base_key[:16]}", make, "base", tell) / "root"


async def tools_layer(plan: Plan, cache: Path, tell: Tell) -> Path:
    """The directory tree of the npm tools (below usr/local), built if it is not in the cache."""

    async def make(directory: Path) -> None:
        if not plan.recipe.tools:
            (directory / "root").mkdir()
            return
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

    named = ", ".join(f"{name} {version}" for name, version in plan.recipe.tools.items())
    tell(Progress("tools", named or "none"))
    return await _cached(cache / f"tools-{plan.tools_key[:16]}", make, "tools", tell) / "root"


def mmdebstrap_argv(recipe: Recipe, root: Path, sources: Sequence[str], hooks: Path) -> list[str | Path]:
    """Install the recipe's packages into `root`, with apt sources as lines of sources.list.

    `hooks` has the script `unpack`, and what desktops are to have: `sources.list` and `keyrings/`.
    """
    unpack = ("sh", shlex.quote(str(hooks / "unpack")), '"$1"', recipe.kernel, *recipe.unpacked)
    return [
        *("mmdebstrap", "--variant=minbase", "--architectures=amd64"),
        f"--include={','.join(recipe.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.exclude),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-include=/usr/share/locale/locale.alias",
        f"--customize-hook={_BYTECODE_HOOK}",
        f"--customize-hook={' '.join(unpack)}",
        *(f"--customize-hook={pieces_hook(name, files)}" for name, files in sorted(recipe.pieces.items())),
        f"--customize-hook=copy-in {hooks}/sources.list {hooks}/keyrings /etc/apt",
        *(recipe.suite, root),
        *sources,
    ]


def pieces_hook(package: str, files: str) -> str:
    """The shell text that takes `files` (patterns, as a recipe has them) out of a package."""
    patterns = " ".join(f'"*/{pattern}"' for pattern in files.split())
    return _PIECES_HOOK.format(package=package, patterns=patterns)


def npm_argv(recipe: Recipe, root: Path, global_settings: str) -> list[str | Path]:
    """Install the recipe's tools below `root`/usr/local. Without install scripts: `links` do their work."""
    return [
        *("npm", "install", "--global", "--prefix", root / "usr/local", "--globalconfig", global_settings),
        *("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-timeout=60000"),
        *(f"{name}@{version}" for name, version in recipe.tools.items()),
    ]


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
    """Remove a directory with all that is in it, if it is there. What is mounted below it is not in it."""

    def remove() -> None:
        if directory.exists():
            unmount_below(directory)
            shutil.rmtree(directory)

    await in_thread(remove)


def _tell_mmdebstrap(line: str, tell: Tell) -> None:
    if line.startswith("I: "):
        tell(Progress("base", line[3:]))


def _npm_environment() -> dict[str, str]:
    home = Path("~root").expanduser()
    if not home.is_dir():
        raise HostError("root has no home directory", hint="npm reads its settings there")
    return {"HOME": str(home), **trust_settings()}
