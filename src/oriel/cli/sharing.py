"""Sharing a desktop with other users, and the links that were given away."""

from __future__ import annotations

from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, run
from oriel.cli.output import Output
from oriel.client import AsyncOriel

__all__ = ["app"]

app = typer.Typer(help="Who else may see or drive a desktop.", no_args_is_help=True)


@app.command("add")
def add(
    name: NameArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="Whom to share it with.")],
    *,
    mode: Annotated[str, typer.Option(metavar="view|control", help="What they may do.")] = "view",
    expires_in: Annotated[
        int | None, typer.Option("--expires-in-s", metavar="SECONDS", help="Without it, until it is ended.")
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Let a user see or drive a desktop, in place of what they might before."""

    async def work(oriel: AsyncOriel) -> dict[str, object]:
        return await (await oriel.desktop(name)).share(user, mode, expires_in_s=expires_in)

    Output(json=json).result(run(home, work), f"{user} may {mode} {name}")


@app.command("list")
def list_(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Users it is shared with, and the links in force; never what opens a link."""

    async def work(oriel: AsyncOriel) -> list[dict[str, object]]:
        return await (await oriel.desktop(name)).shares()

    items = run(home, work)
    columns = ("id", "kind", "user", "mode", "created_at", "opened_at", "expires_at")
    rows = [[item.get(column) or "-" for column in columns] for item in items]
    Output(json=json).table({"items": items}, [column.upper() for column in columns], rows)


@app.command("end")
def end(
    name: NameArgument,
    share: Annotated[str, typer.Argument(metavar="ID", help="As `oriel share list` shows it.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """End a share or a link at once: what it has open is closed."""

    async def work(oriel: AsyncOriel) -> None:
        await (await oriel.desktop(name)).end_share(share)

    run(home, work)
    Output(json=json).result({"id": share, "ended": True}, "")
