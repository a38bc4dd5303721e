"""What an image costs to build and to carry, beside a plain build of the same packages.

The rival is what one would do by hand: mmdebstrap with the recipe's packages and kernel, npm with its
tools, and `tar --zstd` of the tree at zstd's level 9.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oriel.host import process
from oriel.host.layout import Home
from oriel.image.build import build, plan_of
from oriel.image.layers import npm_argv
from oriel.image.plan import Plan
from oriel.image.progress import Progress, trust_settings
from oriel.image.sources import apt_targets, sources_of
from oriel.image.transfer import export_image

DEADLINE_S = 3600
TARGETS = {"cold": 300.0, "files": 30.0, "tools": 60.0, "export_mb": 800.0}
CHANGES = {  # recipes of the bench's own: each changes one layer
    "files": 'extends = "default"\nsummary = "A file more"\n[files]\noverlays = ["more"]\n',
    "tools": 'extends = "default"\nsummary = "A tool less"\n[tools]\n"@google/gemini-cli" = ""\n',
}


async def measure_rebuilds(place: Path) -> dict[str, float]:
    """Seconds to build after a change, on the layers that the home `place` has. What is built is removed."""
    with tempfile.TemporaryDirectory(prefix="oriel-bench-", dir=place) as scratch:
        home = Home(Path(scratch), (place / "images").resolve())
        return await _rebuilds(home)


async def measure_builds(place: Path, other: Mapping[str, Any]) -> dict[str, Any]:
    """`place`: where there is room for two images and a plain tree. Everything is removed again.

    `other`: the manifest of an image built elsewhere. Of the same plan, it must have the same content.
    """
    with tempfile.TemporaryDirectory(prefix="oriel-bench-", dir=place) as scratch:
        home = Home(Path(scratch))
        ours = {"cold": await _timed(home, "default")} | await _rebuilds(home)
        plan = plan_of("default", home)
        manifest = json.loads((home.image(plan.image_id) / "manifest.json").read_text())
        began = time.monotonic()
        parcel = Path(scratch, "image.oriel")
        done = await export_image(home, plan.image_id, parcel, _quiet)
        ours |= {"export_seconds": time.monotonic() - began, "export_mb": done["size_bytes"] / 1e6}
        print(
            f"  export: {ours['export_seconds']:.1f} s, {ours['export_mb']:.0f} MB",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(home.images)
        parcel.unlink()
        same = manifest["content"] == other["content"] if plan.image_id == other["id"] else None
        rival = await _plain(plan, Path(scratch, "plain"))
    return {
        "ours": ours, "rival": rival, "targets": TARGETS, "content": manifest["content"],
        "same_content_as_elsewhere": same,
        "ratio": {"seconds": ours["cold"] / rival["seconds"], "mb": ours["export_mb"] / rival["mb"]},
    }  # fmt: skip


async def _rebuilds(home: Home) -> dict[str, float]:
    """Each change is built on the layers that are there."""
    (home.recipes / "more").mkdir(parents=True)
    (home.recipes / "more/note").write_text(secrets.token_hex(8))
    seconds = {}
    for name, text in CHANGES.items():
        (home.recipes / f"{name}.toml").write_text(text)
        seconds[name] = await _timed(home, name)
        plan = plan_of(name, home)
        shutil.rmtree(home.image(plan.image_id))
        if name == "tools":
            shutil.rmtree(home.image_cache / f"tools-{plan.tools_key[:16]}")
    return seconds


async def _timed(home: Home, recipe: str) -> float:
    began = time.monotonic()
    await build(recipe, home, _quiet)
    seconds = time.monotonic() - began
    print(f"  build {recipe}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


async def _plain(plan: Plan, place: Path) -> dict[str, float]:
    place.mkdir()
    tree, recipe = place / "tree", replace(plan.recipe, exclude=())
    packages = ",".join((*recipe.packages, recipe.kernel, *recipe.unpacked, *recipe.pieces))
    began = time.monotonic()
    await process.run(
        ["mmdebstrap", "--variant=minbase", "--architectures=amd64", f"--include={packages}",
         recipe.suite, tree, *sources_of(recipe, await apt_targets())],
        env=trust_settings(), deadline_s=DEADLINE_S,
    )  # fmt: skip
    settings = {"HOME": "/root", **trust_settings()}
    told = await process.run(["npm", "config", "get", "globalconfig"], env=settings)
    argv = npm_argv(recipe, tree, told.stdout.decode().strip())
    await process.run(argv, env=settings, deadline_s=DEADLINE_S)
    await process.run(
        ["tar", "--create", "--file", place / "plain.tar.zst", "--use-compress-program=zstd -T0 -9",
         "-C", tree, "."],
        deadline_s=DEADLINE_S,
    )  # fmt: skip
    seconds = time.monotonic() - began
    megabytes = (place / "plain.tar.zst").stat().st_size / 1e6
    print(f"  plain build: {seconds:.1f} s, {megabytes:.0f} MB", file=sys.stderr, flush=True)
    return {"seconds": seconds, "mb": megabytes}


def _quiet(_step: Progress) -> None:
    """The bench tells its own figures."""
