"""The golden images of a home: which there are, who uses them, building and deleting."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.hostd.templates import delete_template, list_templates
from oriel.model.errors import Fault, InvalidError, NotFoundError, StateError
from oriel.model.spec import IMAGE_ID, NAME

__all__ = ["build_image", "default_image", "delete_image", "list_images"]

DEFAULT_RECIPE = "default"


def list_images(home: Home) -> list[dict[str, Any]]:
    """Every complete image, newest first. The newest of the recipe `default` is the default."""
    users = _users(home)
    found = []
    if home.images.is_dir():
        for directory in home.images.iterdir():
            manifest = read_json(directory / "manifest.json")
            if manifest is None or not IMAGE_ID.match(directory.name):
                continue
            name, _, version = directory.name.partition("@")
            size = sum(item.stat().st_blocks * 512 for item in directory.iterdir() if item.is_file())
            found.append({
                "id": directory.name, "name": name, "version": version, "default": False, "size_bytes": size,
                "created_at": manifest.get("created_at"), "in_use_by": users.get(directory.name, []),
                "layout": manifest.get("layout"), "screen": manifest.get("screen"),
                "content": manifest.get("content"),
            })  # fmt: skip
    found.sort(key=lambda image: str(image["created_at"]), reverse=True)
    for image in found:
        if image["name"] == DEFAULT_RECIPE:
            image["default"] = True
            break
    return found


def default_image(home: Home) -> str | None:
    """The id of the default image, if there is one."""
    return next((str(image["id"]) for image in list_images(home) if image["default"]), None)


async def build_image(home: Home, recipe: object, progress: Callable[[dict[str, Any]], None]) -> str:
    """Build the image of a recipe, or find it built; its id. InvalidError for a bad recipe's name."""
    if not isinstance(recipe, str) or not NAME.match(recipe):
        raise InvalidError.of([Fault("recipe", "must be a recipe's name: a-z, 0-9 and -")])
    from oriel.image.build import build

    info = await build(recipe, home, lambda step: progress({"phase": step.phase, "message": step.message}))
    return info.id


async def delete_image(home: Home, image_id: object) -> None:
    """NotFoundError if there is none, StateError while a desktop uses it."""
    if not isinstance(image_id, str) or not IMAGE_ID.match(image_id):
        raise InvalidError.of([Fault("id", "must be NAME@VERSION")])
    directory = home.image(image_id)
    if not directory.is_dir():
        raise NotFoundError(f"there is no image {image_id}", hint="`oriel image list` shows those there are")
    users = _users(home).get(image_id, [])
    if users:
        raise StateError(
            f"the image {image_id} is used by {', '.join(users)}", hint="delete these desktops first"
        )
    # Out of sight first: an image that is half deleted must not be found by a create.
    doomed = directory.with_name(f".{image_id}.deleted")
    directory.rename(doomed)
    for template in await asyncio.to_thread(list_templates, home):
        if template["image"] == image_id:
            await delete_template(home, str(template["id"]))
    await asyncio.to_thread(shutil.rmtree, doomed)


def _users(home: Home) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    if home.desktops.is_dir():
        for directory in sorted(home.desktops.iterdir()):
            spec = read_json(directory / "spec.json")
            if spec is not None:
                users.setdefault(str(spec.get("image")), []).append(directory.name)
    return users
