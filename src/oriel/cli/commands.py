"""All commands, by subject."""

from __future__ import annotations

import typer

from oriel.cli import computer, desktops, execution, host, images, moments, people, proxies, verification
from oriel.cli.files import cp

__all__ = ["app"]

app = typer.Typer(
    name="oriel",
    help="Linux desktops in the browser, each behind its user's own proxy address.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("doctor")(host.doctor)
app.command("serve")(host.serve)
app.command("create")(desktops.create)
app.command("list")(desktops.list_)
app.command("show")(desktops.show)
app.command("open")(desktops.open_)
app.command("exec")(execution.exec_)
app.command("cp")(cp)
app.command("screenshot")(computer.screenshot)
app.command("type")(computer.type_)
app.command("key")(computer.key)
app.command("click")(computer.click)
app.command("shell")(execution.shell)
app.command("start")(desktops.start)
app.command("stop")(desktops.stop)
app.command("pause")(moments.pause)
app.command("resume")(moments.resume)
app.command("fork")(moments.fork)
app.command("snapshot")(moments.snapshot)
app.command("rewind")(moments.rewind)
app.command("delete")(desktops.delete)
app.command("logs")(desktops.logs)
app.command("events")(desktops.events)
app.command("verify")(verification.verify)
app.add_typer(images.app, name="image")
app.add_typer(moments.templates, name="template")
app.add_typer(proxies.app, name="proxy")
app.add_typer(people.users, name="user")
app.add_typer(people.tokens, name="token")
app.command("bench")(host.bench)
app.command("version")(host.version)
