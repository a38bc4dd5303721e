"""Building a golden image: recipe, plan, layers, assembly, and at the end one rename."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.host.threads import in_thread
from oriel.image.assemble import Job
from oriel.image.layers import base_layer, discard, tools_layer
from oriel.image.plan import Plan, Sources, make_plan
from oriel.image.progress import Progress, Tell, follow
from oriel.image.recipe import load_recipe
from oriel.image.records import FORMAT, measured, write_records
from oriel.model.errors import HostError, NoSpaceError

__all__ = ["ImageInfo", "Progress", "build", "plan_of"]

ASSEMBLY_DEADLINE_S = 900
GIB = 1 << 30
NEEDS_BASE = 4 * GIB  # packages being unpacked, and their archives
NEEDS_TOOLS = 2 * GIB
NEEDS_IMAGE = 3 * GIB
PROGRAMS = {
    "mmdebstrap": "mmdebstrap", "npm": "npm", "mkfs.erofs": "erofs-utils", "mkfs.ext4": "e2fsprogs",
    "modprobe": "kmod", "unshare": "util-linux", "zstd": "zstd", "systemctl": "systemd", "xz": "xz-utils",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """An image that is there. `built`: whether this call made it."""

    id: str
    directory: Path
    manifest: dict[str, Any]
    built: bool


def plan_of(recipe: str, home: Home) -> Plan:
    """The plan of a recipe of this home (HOME/recipes) or a shipped one. Errors as `load_recipe`."""
    sources = Sources.here()
    return make_plan(load_recipe(recipe, (home.recipes, sources.recipes)), sources)


async def build(recipe: str, home: Home, progress: Tell) -> ImageInfo:
    """The image of the recipe's current plan, built if it is not there. Needs root.

    Raises InvalidError or NotFoundError for the recipe, HostError for what the host lacks, NoSpaceError,
    UnavailableError if mirror or registry are out of reach, LaunchError with the tail of a failed layer's
    log. Then no image, no mount and no half layer is left; finished layers stay in the cache.
    """
    plan = plan_of(recipe, home)
    directory = home.image(plan.image_id)
    if found := _existing(plan, directory):
        return found
    _check_host()
    home.image_cache.mkdir(parents=True, exist_ok=True)
    progress(Progress("plan", f"{plan.image_id} ({plan.recipe.summary})"))
    async with _alone(home.image_cache / "lock", progress):
        if found := _existing(plan, directory):  # another build made it while we waited
            return found
        _check_space(plan, home.image_cache)
        base = await base_layer(plan, home.image_cache, progress)
        tools = await tools_layer(plan, home.image_cache, progress)
        manifest = await _assemble(plan, base=base, tools=tools, home=home, tell=progress)
    progress(Progress("done", f"{plan.image_id}, {manifest['size_bytes'] / GIB:.2f} GiB"))
    return ImageInfo(id=plan.image_id, directory=directory, manifest=manifest, built=True)


def _existing(plan: Plan, directory: Path) -> ImageInfo | None:
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    return ImageInfo(id=plan.image_id, directory=directory, manifest=manifest, built=False)


def _check_host() -> None:
    if os.geteuid() != 0:
        raise HostError("building an image needs root", hint="run it with sudo")
    lacking = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if lacking:
        raise HostError(
            f"this host lacks {', '.join(lacking)}", hint=f"apt-get install {' '.join(sorted(set(lacking)))}"
        )


def _check_space(plan: Plan, cache: Path) -> None:
    needed = NEEDS_IMAGE
    needed += 0 if (cache / f"base-{plan.base_key[:16]}").is_dir() else NEEDS_BASE
    needed += 0 if (cache / f"tools-{plan.tools_key[:16]}").is_dir() else NEEDS_TOOLS
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise NoSpaceError(
            f"{cache} has {free / GIB:.1f} GiB free; this build needs {needed / GIB:.0f} GiB",
            hint="delete images or desktops you do not need, or move the home to a larger disk",
        )


@contextlib.asynccontextmanager
async def _alone(path: Path, tell: Tell) -> AsyncIterator[None]:
    """One build at a time in a cache. The lock goes with the process, however it ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(Progress("plan", "waiting for another build to end"))
            await in_thread(lambda: fcntl.flock(lock, fcntl.LOCK_EX))
        yield


async def _assemble(plan: Plan, *, base: Path, tools: Path, home: Home, tell: Tell) -> dict[str, Any]:
    work = home.images / f".{plan.image_id}.new"
    await discard(work)
    work.mkdir(mode=0o755)
    began = time.monotonic()
    try:
        job = _job(plan, base, tools)
        (work / "job.json").write_text(json.dumps(job.to_json()))
        await follow(
            ["unshare", "--mount", "--propagation", "private", "--kill-child", "--fork", "--",
             sys.executable, "-m", "oriel.image.assemble", work],
            phase="final",
            log=work / "log",
            on_line=lambda line: _tell_line(line, tell),
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            deadline_s=ASSEMBLY_DEADLINE_S,
            where="nothing outside",
        )  # fmt: skip
        manifest = _manifest(plan, work, seconds=time.monotonic() - began)
        write_records(work / "image", manifest)
        await discard(home.image(plan.image_id))  # one without a manifest: none of ours
        (work / "image").rename(home.image(plan.image_id))
        return manifest
    finally:
        await discard(work)


def _job(plan: Plan, base: Path, tools: Path) -> Job:
    recipe = plan.recipe
    return Job(
        base=base,
        tools=tools,
        files=list(plan.files),
        init=plan.initrd / "init",
        modules=list(recipe.modules),
        links=dict(recipe.links),
        enable=list(recipe.enable),
        mask=list(recipe.mask),
        locale=recipe.locale,
        timezone=recipe.timezone,
        unused=list(recipe.unused),
        first_boot=list(recipe.first_boot),
        screen=(recipe.screen.width, recipe.screen.height),
        layout=recipe.layout,
        version=plan.version,
        # What a desktop may know of its image, and what `image verify` looks for in it.
        facts={
            "image": plan.image_id,
            "summary": recipe.summary,
            "desktop": recipe.desktop,
            "browser": recipe.browser,
            "tools": dict(recipe.tools),
            "units": list(recipe.enable),
        },
    )


def _manifest(plan: Plan, work: Path, *, seconds: float) -> dict[str, Any]:
    found = json.loads((work / "found.json").read_text())
    made = {
        "format": FORMAT, "id": plan.image_id, "name": plan.recipe.name, "version": plan.version,
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "assembly_seconds": round(seconds, 1),
        "layout": plan.recipe.layout, "screen": asdict(plan.recipe.screen), "plan": plan.to_json(), **found,
    }  # fmt: skip
    return made | measured(work / "image")


def _tell_line(line: str, tell: Tell) -> None:
    phase, separator, message = line.partition(": ")
    if separator and phase in ("files", "final"):
        tell(Progress(phase, message))
