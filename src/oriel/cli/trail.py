"""The audit trail: who did what to which desktop, from where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, run
from oriel.cli.output import Output
from oriel.client import AsyncOriel

__all__ = ["audit"]


def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as delete_desktop.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on, as 2026-01-31T12:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Who did what, oldest first. With --json all of it as one document, to be kept elsewhere."""
    chosen = {"actor": actor, "target": target, "action": action, "since": since, "until": until}

    async def work(oriel: AsyncOriel) -> list[dict[str, Any]]:
        return await oriel.audit(**chosen)

    items = run(home, work)
    columns = ("at", "actor", "action", "target", "outcome", "address")
    rows = [[item.get(column) or "-" for column in columns] for item in items]
    Output(json=json).table({"items": items}, [column.upper() for column in columns], rows)
