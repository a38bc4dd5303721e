"""Users and their API tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect, read_secret
from oriel.cli.output import Output
from oriel.model.errors import Fault, InvalidError

__all__ = ["tokens", "users"]

users = typer.Typer(help="Users.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens.", no_args_is_help=True)
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]


@users.command("add")
def add_user(
    user: UserArgument,
    role: Annotated[str, typer.Option(metavar="admin|user|viewer", help="What they may do.")] = "user",
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Add a user."""
    with connect(home) as oriel:
        made = oriel.users.add(user, role)
    Output(json=json).result(made, f"{user} added")


@users.command("list")
def list_users(json: JsonFlag = False, home: HomeOption = None) -> None:
    """All users."""
    with connect(home) as oriel:
        items = oriel.users.list()
    rows = [
        (item["name"], item["role"], "yes" if item["has_password"] else "no", item["created_at"])
        for item in items
    ]
    Output(json=json).table({"items": items}, ("NAME", "ROLE", "PASSWORD", "SINCE"), rows)


@users.command("change")
def change_user(
    user: UserArgument,
    role: Annotated[
        str | None,
        typer.Option(metavar="admin|user|viewer", help="In force at once."),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=MOST",
            help="desktops, vcpus, memory_mib, disk_gib or proxies; may be repeated; replaces what they had.",
        ),
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Change what a user may do, and how much they may have."""
    fields: dict[str, object] = {} if role is None else {"role": role}
    if quota is not None:
        fields["quota"] = _quota(quota)
    with connect(home) as oriel:
        changed = oriel.users.change(user, **fields)
    Output(json=json).result(changed, f"{user} changed")


def _quota(words: list[str]) -> dict[str, int]:
    """What `--quota` says. InvalidError with every word that says nothing."""
    split = [word.partition("=") for word in words]
    wrong = [name for name, _, most in split if not name or not most.isdecimal()]
    if wrong:
        raise InvalidError.of([Fault("--quota", f"{name!r} must be FIELD=NUMBER") for name in wrong])
    return {name: int(most) for name, _, most in split}


@users.command("password")
def set_password(
    user: UserArgument,
    file: Annotated[
        Path | None, typer.Option(help="File whose first line it is; without it, asked for or from stdin.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="They sign in by other ways only.")] = False,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Set a user's password, or take it away. Whoever is signed in as them is signed out."""
    password = None if remove else read_secret(file, f"new password of {user} (not shown): ", "--file")
    with connect(home) as oriel:
        oriel.users.set_password(user, password)
    Output(json=json).result({"user": user, "has_password": not remove}, "")


@users.command("delete")
def delete_user(user: UserArgument, json: JsonFlag = False, home: HomeOption = None) -> None:
    """Delete a user."""
    with connect(home) as oriel:
        oriel.users.delete(user)
    Output(json=json).result({"user": user, "deleted": True}, "")


@tokens.command("create")
def create_token(
    user: UserArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="May be repeated; without it all of the user's.")
    ] = None,
    expires_in: Annotated[
        int | None, typer.Option("--expires-in-s", metavar="SECONDS", help="Without it, never.")
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Make a token. It is shown this once and never again."""
    with connect(home) as oriel:
        number, token = oriel.tokens.create(
            user, name, scopes=tuple(scope) if scope else None, expires_in_s=expires_in
        )
    Output(json=json).result({"id": number, "token": token.reveal()}, token.reveal())


@tokens.command("list")
def list_tokens(json: JsonFlag = False, home: HomeOption = None) -> None:
    """All tokens, without what is secret of them."""
    with connect(home) as oriel:
        items = oriel.tokens.list()
    columns = ("id", "user", "name", "created_at", "expires_at", "last_used_at")
    rows = [[item.get(column) or "-" for column in columns] for item in items]
    Output(json=json).table({"items": items}, [column.upper() for column in columns], rows)


@tokens.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `oriel token list` shows it.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Make a token worthless, at once."""
    with connect(home) as oriel:
        oriel.tokens.delete(token)
    Output(json=json).result({"id": token, "revoked": True}, "")
