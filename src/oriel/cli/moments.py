"""Pause, resume, fork, snapshot, rewind, and the templates desktops are made from."""

from __future__ import annotations

from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output

__all__ = ["fork", "pause", "pool", "resume", "rewind", "snapshot", "templates"]

templates = typer.Typer(help="Templates: booted moments that new desktops start from.", no_args_is_help=True)
SnapshotArgument = Annotated[str, typer.Argument(metavar="SNAP", help="Name of the snapshot.")]


def pause(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Put a desktop aside with its memory."""
    with connect(home) as oriel:
        info = oriel.desktop(name).pause()
    Output(json=json).result(info.document, f"{info.name} is {info.state}")


def resume(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Go on where a paused desktop was."""
    with connect(home) as oriel:
        info = oriel.desktop(name).resume()
    Output(json=json).result(info.document, f"{info.name} is {info.state}")


def fork(  # noqa: PLR0917 - options of a command
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Name of the new desktop.")],
    snapshot: Annotated[str | None, typer.Option(help="As it was at this snapshot.")] = None,
    proxy: Annotated[str | None, typer.Option(help="Its way out (default: the original's).")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """A new desktop, a copy of this one's memory and disk."""
    with connect(home) as oriel:
        made = oriel.desktop(name).fork(new, snapshot=snapshot, proxy=proxy)
    Output(json=json).result(made.info.document, f"{made.info.name} is {made.info.state}")


def snapshot(
    name: NameArgument, snap: SnapshotArgument, json: JsonFlag = False, home: HomeOption = None
) -> None:
    """Keep this moment, to come back to it with `rewind`."""
    with connect(home) as oriel:
        made = oriel.desktop(name).snapshot(snap)
    Output(json=json).result(made, f"{snap} is kept")


def rewind(
    name: NameArgument, snap: SnapshotArgument, json: JsonFlag = False, home: HomeOption = None
) -> None:
    """Go back to a snapshot; what came after it is lost."""
    with connect(home) as oriel:
        info = oriel.desktop(name).rewind(snap)
    Output(json=json).result(info.document, f"{info.name} is as it was at {snap}")


def pool(json: JsonFlag = False, home: HomeOption = None) -> None:
    """Desktops that wait ready, by kind."""
    with connect(home) as oriel:
        kinds = oriel.pool.list()
    rows = [
        (kind["runtime"], kind["image"], f"{kind['memory_mib']} MiB", f"{kind['ready']} of {kind['wanted']}",
         f"{kind['held_mib']} MiB", kind["taken"], kind["missed"], kind["problem"])
        for kind in kinds
    ]  # fmt: skip
    head = ("RUNTIME", "IMAGE", "MEMORY", "READY", "HOLD", "TAKEN", "MISSED", "PROBLEM")
    Output(json=json).table({"items": kinds}, head, rows)


@templates.command("build")
def build_template(  # noqa: PLR0917 - options of a command
    image: Annotated[str | None, typer.Option(help="Golden image: NAME or NAME@VERSION.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Runtime it is for.")] = None,
    vcpus: Annotated[int | None, typer.Option(help="Virtual CPUs.")] = None,
    memory_mib: Annotated[int | None, typer.Option(help="Memory, in MiB.")] = None,
    disk_gib: Annotated[int | None, typer.Option(help="Disk, in GiB.")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Boot once and keep the moment both windows are painted."""
    given = {
        "image": image, "runtime": runtime, "vcpus": vcpus, "memory_mib": memory_mib, "disk_gib": disk_gib,
    }  # fmt: skip
    output = Output(json=json)
    with connect(home) as oriel:
        wanted = {key: value for key, value in given.items() if value is not None}
        made = oriel.templates.build(on_progress=output.note, **wanted)
    output.result(made, str(made["id"]))


@templates.command("list")
def list_templates(json: JsonFlag = False, home: HomeOption = None) -> None:
    """The templates there are."""
    with connect(home) as oriel:
        items = oriel.templates.list()
    rows = [
        (item["id"], item["image"], item["vcpus"], f"{item['memory_mib']} MiB",
         f"{item['size_bytes'] >> 20} MiB", item["created_at"], item["problem"])
        for item in items
    ]  # fmt: skip
    head = ("TEMPLATE", "IMAGE", "VCPUS", "MEMORY", "SIZE", "BUILT", "PROBLEM")
    Output(json=json).table({"items": items}, head, rows)


@templates.command("delete")
def delete_template(
    template: Annotated[str, typer.Argument(metavar="ID")], json: JsonFlag = False, home: HomeOption = None
) -> None:
    """Delete a template."""
    with connect(home) as oriel:
        oriel.templates.delete(template)
    Output(json=json).result({"id": template, "deleted": True}, "")
