"""Proxies: the addresses desktops go out by. Their URLs never stand on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect, read_secret
from oriel.cli.output import DONE, FAILED, Output

__all__ = ["app"]

app = typer.Typer(help="Proxies that desktops' internet goes through.", no_args_is_help=True)
ProxyArgument = Annotated[str, typer.Argument(metavar="PROXY", help="Name or id of the proxy.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it will be called.")],
    url_file: Annotated[
        Path | None, typer.Option(help="File with the URL, or one per line; without it stdin is read.")
    ] = None,
    *,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="One desktop per address.")] = False,
    shared: Annotated[bool, typer.Option("--shared", help="Everyone may use it.")] = False,
    failover: Annotated[
        bool, typer.Option("--failover", help="If a desktop's address fails, another of the pool serves.")
    ] = False,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Add a proxy: http, https or socks5 URL with user and password, on stdin or in a file.

    A range of ports (host:10001-10010) or several lines are a pool, of which each user gets one address.
    """
    url = read_secret(url_file, "proxy URL (not shown): ", "--url-file")
    with connect(home) as oriel:
        made = oriel.proxies.add(name, url, exclusive=exclusive, shared=shared, failover=failover)
    count = int(made.get("addresses", 1))
    Output(json=json).result(made, f"{name} added" + (f" with {count} addresses" if count > 1 else ""))


@app.command("list")
def list_(json: JsonFlag = False, home: HomeOption = None) -> None:
    """All proxies; never with a password."""
    with connect(home) as oriel:
        items = oriel.proxies.list()
    columns = ("NAME", "SCHEME", "HOST", "PORT", "IN USE", "KIND", "PASSWORD", "OWNER")
    rows = [
        (
            item["name"], item["scheme"], item["host"], item["port"],
            f"{item['in_use']} of {item['addresses']}", _kind(item), "kept" if item["has_password"] else "-",
            item["owner"],
        )
        for item in items
    ]  # fmt: skip
    Output(json=json).table({"items": items}, columns, rows)


def _kind(item: dict[str, Any]) -> str:
    return " ".join(word for word in ("exclusive", "shared", "failover") if item[word]) or "-"


@app.command()
def show(proxy: ProxyArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """One proxy without its password, and the desktops that go out by it."""
    with connect(home) as oriel:
        item = oriel.proxies.get(proxy)
    rows = [(key, value) for key, value in item.items() if key != "desktops"]
    rows += [("desktop", f"{one['name']} ({one['owner']}) by {one['address']}") for one in item["desktops"]]
    Output(json=json).table(item, ("FIELD", "VALUE"), rows)


@app.command()
def check(
    proxy: ProxyArgument,
    place: Annotated[int, typer.Option(min=0, help="Which address of a pool, from 0.")] = 0,
    port: Annotated[list[int] | None, typer.Option(help="A port to try; may be repeated.")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> int:
    """Try it: reachable, password accepted, the address the world then sees, and the ports it allows."""
    with connect(home) as oriel:
        result = oriel.proxies.check(proxy, place=place, ports=tuple(port) if port else None)
    Output(json=json).table(result, ("FIELD", "VALUE"), list(result.items()))
    return FAILED if result.get("problem") else DONE


@app.command()
def assign(
    proxy: ProxyArgument,
    desktop: Annotated[str, typer.Argument(metavar="DESKTOP", help="Name or id of the desktop.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Let a desktop go out by it, at once. Of a pool it gets its user's address, or a free one."""
    with connect(home) as oriel:
        if proxy in ("direct", "none"):
            egress = oriel.desktop(desktop).set_egress(proxy=proxy)
        else:
            egress = oriel.proxies.assign(proxy, desktop)
    Output(json=json).result(egress, f"{desktop} goes out by {proxy}")


@app.command()
def delete(proxy: ProxyArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Delete a proxy that no desktop uses."""
    with connect(home) as oriel:
        oriel.proxies.delete(proxy)
    Output(json=json).result({"proxy": proxy, "deleted": True}, "")
