"""Who drives a desktop, from the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output
from oriel.model.errors import Fault, InvalidError

__all__ = ["app"]

app = typer.Typer(help="Who looks at a desktop, and who drives it.", no_args_is_help=True)


@app.command("show")
def show(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Everyone who looks, who drives, and who asks to."""
    with connect(home) as oriel:
        _tell(Output(json=json), oriel.desktop(name).control.show())


@app.command("take")
def take(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Drive from now on, whoever did."""
    with connect(home) as oriel:
        _tell(Output(json=json), oriel.desktop(name).control.take())


@app.command("request")
def request(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Ask whoever drives; if nobody does, take it."""
    with connect(home) as oriel:
        _tell(Output(json=json), oriel.desktop(name).control.request())


@app.command("withdraw")
def withdraw(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Ask no longer."""
    with connect(home) as oriel:
        _tell(Output(json=json), oriel.desktop(name).control.withdraw())


@app.command("give")
def give(
    name: NameArgument,
    to: Annotated[
        str | None,
        typer.Argument(metavar="[VIEWER]", help="Id or name, as `show` lists them; nobody if left out."),
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Hand it to another, or let go of it."""
    with connect(home) as oriel:
        control = oriel.desktop(name).control
        _tell(Output(json=json), control.give(None if to is None else _id_of(control.show(), to)))


def _id_of(told: dict[str, Any], wanted: str) -> str:
    """InvalidError unless it is one viewer's id, or a name that only one has."""
    found = [viewer for viewer in told["viewers"] if wanted in (viewer["id"], viewer["name"])]
    if len(found) == 1:
        return str(found[0]["id"])
    problem = "is nobody who looks at it" if not found else "is what several are called: give an id"
    raise InvalidError.of([Fault("VIEWER", problem)], hint="oriel control show NAME lists them")


def _tell(output: Output, told: dict[str, Any]) -> None:
    rows = [
        [viewer["id"], viewer["name"], viewer["kind"], viewer["mode"], _part(told, viewer["id"])]
        for viewer in told["viewers"]
    ]
    output.table(told, ["ID", "NAME", "KIND", "MAY", "DOES"], rows)


def _part(told: dict[str, Any], viewer_id: str) -> str:
    parts = ["drives"] if viewer_id == told["holder"] else []
    parts += ["asks"] if viewer_id in told["requests"] else []
    parts += ["you"] if viewer_id == told.get("you") else []
    return ", ".join(parts) or "looks"
