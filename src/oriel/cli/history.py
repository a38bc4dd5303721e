"""What a desktop did and said: its events and its console."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from oriel.cli.desktops import cell
from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output, plain
from oriel.model.events import Event

__all__ = ["events", "logs"]


def logs(
    name: NameArgument,
    access: Annotated[bool, typer.Option("--access", help="Where it went, if its policy has a log.")] = False,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """The tail of the desktop's console, or of its access log."""
    with connect(home) as oriel:
        desktop = oriel.desktop(name)
        if access:
            _access(Output(json=json), desktop.access_log())
            return
        text = desktop.logs()
    Output(json=json).result({"id": desktop.info.id, "text": text}, plain(text).rstrip())


def _access(output: Output, items: list[dict[str, Any]]) -> None:
    columns = ("at", "way_in", "host", "port", "bytes_in", "bytes_out", "seconds")
    rows = [[plain(str(item.get(column, ""))) for column in columns] for item in items]
    output.table({"items": items}, [column.upper() for column in columns], rows)


def events(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of one desktop; else of all.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens; with --json one object a line.")
    ] = False,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """What happened: the events kept, and with --follow those to come."""
    output = Output(json=json)
    with connect(home) as oriel:
        source = oriel.desktop(name) if name else oriel
        if follow:
            for event in source.events(after=0):
                _tell(output, event)
            return
        kept = source.kept_events()
    if json:
        output.document({"items": [event.to_json() for event in kept]})
        return
    for event in kept:
        _tell(output, event)


def _tell(output: Output, event: Event) -> None:
    if output.json:
        print(jsonlib.dumps(event.to_json(), ensure_ascii=False), flush=True)
        return
    details = " ".join(f"{key}={cell(value)}" for key, value in event.data.items())
    print(plain(f"{event.at}  {event.desktop}  {event.kind}  {event.message} {details}".rstrip()), flush=True)
