"""Golden images: on the controller's host by its API, or as root in a home without any controller."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect, home_of
from oriel.cli.output import Output

__all__ = ["app"]

app = typer.Typer(help="Golden images that desktops are made from.", no_args_is_help=True)
ImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE", help="NAME@VERSION, as `oriel image list` shows.")
]


def _is_ours(home: Path | None) -> bool:
    """Whether to work in the home itself: as root on its host, unless ORIEL_URL names a controller."""
    return os.geteuid() == 0 and (home is not None or not os.environ.get("ORIEL_URL"))


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of the recipe.")] = "default",
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Build the image of a recipe, or find it built."""
    output = Output(json=json)
    if not _is_ours(home):
        with connect(home) as oriel:
            image = oriel.images.build(recipe, on_progress=output.note)
            output.result(oriel.images.get(image), image)
        return
    from oriel.image.build import build as build_image

    info = asyncio.run(build_image(recipe, home_of(home), lambda step: output.note(f"  {step}")))
    document = {"id": info.id, "built": info.built, "directory": str(info.directory), **info.manifest}
    output.result(document, info.id)


@app.command("list")
def list_(json: JsonFlag = False, home: HomeOption = None) -> None:
    """The images there are, newest first."""
    if _is_ours(home):
        from oriel.hostd.images import list_images

        items: list[dict[str, Any]] = list_images(home_of(home))
    else:
        with connect(home) as oriel:
            items = oriel.images.list()
    rows = [
        (
            item["id"], f"{item['size_bytes'] / (1 << 20):.0f} MiB", item["created_at"],
            len(item["in_use_by"]), "default" if item["default"] else "",
        )
        for item in items
    ]  # fmt: skip
    Output(json=json).table({"items": items}, ("IMAGE", "SIZE", "BUILT", "DESKTOPS", ""), rows)


@app.command()
def delete(image: ImageArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Delete an image that no desktop uses."""
    if _is_ours(home):
        from oriel.hostd.images import delete_image

        asyncio.run(delete_image(home_of(home), image))
    else:
        with connect(home) as oriel:
            oriel.images.delete(image)
    Output(json=json).result({"id": image, "deleted": True}, "")
