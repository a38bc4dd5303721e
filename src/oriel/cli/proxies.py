"""Proxies: the addresses desktops go out by. Their URLs never stand on a command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect
from oriel.cli.output import DONE, FAILED, Output
from oriel.model.errors import Fault, InvalidError
from oriel.model.secret import Secret

__all__ = ["app"]

app = typer.Typer(help="Proxies that desktops' internet goes through.", no_args_is_help=True)
ProxyArgument = Annotated[str, typer.Argument(metavar="PROXY", help="Name or id of the proxy.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it will be called.")],
    url_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the URL; without it stdin is read.")
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Add a proxy: http, https or socks5 URL with user and password, on stdin or in a file."""
    url = _read_url(url_file)
    with connect(home) as oriel:
        made = oriel.proxies.add(name, url)
    Output(json=json).result(made, f"{name} added")


def _read_url(path: Path | None) -> Secret:
    if path is None and sys.stdin.isatty():
        import getpass

        return Secret(getpass.getpass("proxy URL (not shown): ").strip())
    try:
        text = path.read_text() if path else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidError.of([Fault("--url-file", f"{path} cannot be read: {reason}")]) from error
    lines = text.strip().splitlines()
    if not lines:
        hint = "printf %s URL | oriel proxy add NAME, or --url-file FILE"
        raise InvalidError.of([Fault("url", "nothing came on stdin")], hint=hint)
    return Secret(lines[0].strip())


@app.command("list")
def list_(json: JsonFlag = False, home: HomeOption = None) -> None:
    """All proxies; never with a password."""
    with connect(home) as oriel:
        items = oriel.proxies.list()
    columns = ("name", "scheme", "host", "port", "has_password", "id")
    rows = [[item.get(column, "") for column in columns] for item in items]
    Output(json=json).table({"items": items}, [column.upper() for column in columns], rows)


@app.command()
def show(proxy: ProxyArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """One proxy, without its password."""
    with connect(home) as oriel:
        item = oriel.proxies.get(proxy)
    Output(json=json).table(item, ("FIELD", "VALUE"), list(item.items()))


@app.command()
def check(proxy: ProxyArgument, json: JsonFlag = False, home: HomeOption = None) -> int:
    """Try it: reachable, password accepted, and the address the world then sees."""
    with connect(home) as oriel:
        result = oriel.proxies.check(proxy)
    Output(json=json).table(result, ("FIELD", "VALUE"), list(result.items()))
    return FAILED if result.get("problem") else DONE


@app.command()
def assign(
    proxy: ProxyArgument,
    desktop: Annotated[str, typer.Argument(metavar="DESKTOP", help="Name or id of the desktop.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Let a desktop go out by it, at once for new connections."""
    with connect(home) as oriel:
        egress = oriel.desktop(desktop).set_egress(proxy=proxy)
    Output(json=json).result(egress, f"{desktop} goes out by {proxy}")


@app.command()
def delete(proxy: ProxyArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Delete a proxy that no desktop uses."""
    with connect(home) as oriel:
        oriel.proxies.delete(proxy)
    Output(json=json).result({"proxy": proxy, "deleted": True}, "")
