"""All commands. Only the one that is asked for is imported: all of them would cost each start 0.1 s."""

from __future__ import annotations

from importlib import import_module

import typer

__all__ = ["app_for", "whole_app"]

# Name: module and function, in the order in which help lists them.
COMMANDS = {
    "doctor": "host:doctor",
    "serve": "host:serve",
    "create": "desktops:create",
    "list": "desktops:list_",
    "show": "desktops:show",
    "open": "desktops:open_",
    "exec": "execution:exec_",
    "cp": "files:cp",
    "screenshot": "computer:screenshot",
    "type": "computer:type_",
    "key": "computer:key",
    "click": "computer:click",
    "shell": "shell:shell",
    "start": "desktops:start",
    "stop": "desktops:stop",
    "pause": "moments:pause",
    "resume": "moments:resume",
    "fork": "moments:fork",
    "snapshot": "moments:snapshot",
    "rewind": "moments:rewind",
    "delete": "desktops:delete",
    "logs": "history:logs",
    "events": "history:events",
    "verify": "verification:verify",
    "backup": "backups:backup",
    "restore": "backups:restore",
    "audit": "trail:audit",
    "pool": "moments:pool",
    "drain": "upkeep:drain",
    "renew": "upkeep:renew",
    "bench": "host:bench",
    "version": "host:version",
}
GROUPS = {
    "image": "images:app",
    "template": "moments:templates",
    "proxy": "proxies:app",
    "share": "sharing:app",
    "clipboard": "clipboard:app",
    "control": "control:app",
    "user": "people:users",
    "token": "people:tokens",
}
# `serve` reads its own options: there is one for every setting.
_CONTEXT: dict[str, dict[str, object]] = {
    "serve": {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
}


def app_for(word: str) -> typer.Typer:
    """With the one command called `word`; with all of them if there is none, for help and suggestions."""
    return _app([word]) if word in COMMANDS or word in GROUPS else whole_app()


def whole_app() -> typer.Typer:
    return _app([*COMMANDS, *GROUPS])


def _app(names: list[str]) -> typer.Typer:
    app = typer.Typer(
        name="oriel",
        help="Linux desktops in the browser, each behind its user's own proxy address.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)  # without it, a single command would be the whole program
    for name in names:
        module, _, attribute = (COMMANDS.get(name) or GROUPS[name]).partition(":")
        found = getattr(import_module(f"oriel.cli.{module}"), attribute)
        if name in GROUPS:
            app.add_typer(found, name=name)
        else:
            app.command(name, context_settings=_CONTEXT.get(name))(found)
    return app


def _root() -> None:
    """Linux desktops in the browser, each behind its user's own proxy address."""
