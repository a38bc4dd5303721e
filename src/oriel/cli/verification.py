"""`oriel verify`: the ten criteria on one desktop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, run
from oriel.cli.output import DONE, FAILED, Output, plain

if TYPE_CHECKING:
    from oriel.client import AsyncOriel
    from oriel.client.verify import CheckResult, Report

__all__ = ["verify"]


def verify(
    name: NameArgument,
    url: Annotated[
        str | None, typer.Option(help="Page for the checks that go out (default https://claude.ai/).")
    ] = None,
    soak: Annotated[
        float, typer.Option(metavar="MINUTES", min=0, help="How long to look on for the last two checks.")
    ] = 0,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> int:
    """Try a running desktop as its user would: look, type, browse, go out. It types into its windows."""
    from oriel.client.verify import DEFAULT_URL
    from oriel.client.verify import verify as verify_desktop

    output = Output(json=json)

    def told(result: CheckResult) -> None:
        output.note(f"{'pass' if result.passed else 'FAIL'}  {result.id}  {result.seconds:.2f} s")

    async def work(oriel: AsyncOriel) -> Report:
        return await verify_desktop(
            await oriel.desktop(name),
            url=url or DEFAULT_URL,
            soak_s=soak * 60,
            on_result=told,
            doing=lambda what: output.note(f"      {what} …") if " " in what else None,
        )

    report = run(home, work)
    if json:
        output.document(report.to_json())
    else:
        _show(report)
    return DONE if report.passed else FAILED


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("CHECK", "", "SECONDS", "SEEN"):
        table.add_column(column, justify="right" if column == "SECONDS" else "left", overflow="fold")
    for check in report.checks:
        verdict = Text("pass", style="green") if check.passed else Text("FAIL", style="bold red")
        table.add_row(check.id, verdict, f"{check.seconds:.2f}", Text(plain(check.detail)))
    console = Console()
    console.print(table)
    passed = sum(check.passed for check in report.checks)
    console.print(f"{passed} of {len(report.checks)} passed", highlight=False)
