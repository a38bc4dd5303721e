"""Golden images: on the controller's host by its API, or as root in a home without any controller."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect, home_of, run
from oriel.cli.output import DONE, FAILED, Output

if TYPE_CHECKING:
    from oriel.client import AsyncOriel
    from oriel.client.aio.desktop import Desktop
    from oriel.image.verify import Mirror

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
def verify(
    image: Annotated[str | None, typer.Argument(metavar="IMAGE", help="Else the host's default.")] = None,
    runtime: Annotated[str | None, typer.Option(help="What to boot it in (default: the host's own).")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> int:
    """Boot an image and look at it from inside: tools, units, and that each comes back when killed."""
    from oriel.image.verify import Mirror, Verdict
    from oriel.image.verify import verify as look_inside

    output = Output(json=json)

    async def work(oriel: AsyncOriel) -> list[Verdict]:
        verdicts = []
        async with Mirror() as mirror, _booted(oriel, mirror, image, runtime, output) as desktop:
            async for verdict in look_inside(Booted(desktop), mirror):
                output.note(f"{'pass' if verdict.passed else 'FAIL'}  {verdict.id}  {verdict.seconds:.2f} s")
                verdicts.append(verdict)
        return verdicts

    verdicts = run(home, work)
    passed = all(verdict.passed for verdict in verdicts)
    rows = [
        (one.id, "pass" if one.passed else "FAIL", f"{one.seconds:.2f}", _line(one.detail))
        for one in verdicts
    ]
    document = {"passed": passed, "checks": [asdict(one) for one in verdicts]}
    output.table(document, ("CHECK", "", "SECONDS", "SEEN"), rows)
    return DONE if passed else FAILED


@contextlib.asynccontextmanager
async def _booted(
    oriel: AsyncOriel, mirror: Mirror, image: str | None, runtime: str | None, output: Output
) -> AsyncIterator[Desktop]:
    """A desktop whose way out leads to `mirror`: on loopback, so the controller's host must be this one."""
    from oriel.model.secret import Secret

    name = f"verify-{secrets.token_hex(3)}"
    await oriel.proxies.add(name, Secret(mirror.url))
    try:
        output.note("booting the image …")
        desktop = await oriel.desktops.create(name, image=image, runtime=runtime, proxy=name, wait=False)
        try:
            await desktop.wait_ready()
            yield desktop
        finally:
            await desktop.delete()
    finally:
        await oriel.proxies.delete(name)


class Booted:
    """A way into a booted image, by the exec of a desktop made from it."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop

    async def sh(self, script: str, *, user: str = "root", timeout_s: float = 120) -> tuple[int, str]:
        """Its exit code, and its output with its errors after it."""
        argv = ["bash", "-lc", script]
        if user == "root":
            argv = ["sudo", "-n", *argv]
        return await self.exec(argv, timeout_s=timeout_s)

    async def exec(self, argv: Sequence[str], *, timeout_s: float = 120) -> tuple[int, str]:
        result = await self._desktop.exec(argv, timeout_s=timeout_s)
        return result.exit_code, result.stdout + result.stderr

    async def windows(self) -> list[dict[str, Any]]:
        return await self._desktop.windows()


def _line(text: str) -> str:
    return text.replace("\n", " · ")[:100]


@app.command()
def export(
    image: ImageArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; must not exist.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Write an image into one compressed file, with its manifest. On its host, as root."""
    from oriel.image.transfer import export_image

    output = Output(json=json)
    done = asyncio.run(export_image(home_of(home), image, file, lambda step: output.note(f"  {step}")))
    size = done["size_bytes"]
    output.note(f"{size / 1e6:.0f} MB; hand its SHA-256 to whom you hand the file, for `import --sha256`")
    output.result(done, f"{done['sha256']}  {done['file']}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `oriel image export` wrote.")],
    sha256: Annotated[str, typer.Option(metavar="HEX", help="Refuse the file if it has another.")] = "",
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Make an exported image stand in this home, if all of it is as its manifest says. As root."""
    from oriel.image.transfer import import_image

    output = Output(json=json)
    place = home_of(home)
    place.images.mkdir(parents=True, exist_ok=True)
    info = asyncio.run(import_image(place, file, lambda step: output.note(f"  {step}"), sha256=sha256))
    document = {"id": info.id, "imported": info.built, "directory": str(info.directory), **info.manifest}
    if not info.built:
        output.note("this image is already here")
    output.result(document, info.id)


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
