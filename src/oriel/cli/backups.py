"""Backup and restore of what the controller knows. Both work on this host, beside or without a controller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, home_of
from oriel.cli.output import Output

if TYPE_CHECKING:
    from oriel.controller.store.archive import Summary
    from oriel.host.layout import Home

__all__ = ["backup", "restore"]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; replaced whole.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Every row of the database, its key and its settings in one file, taken while Oriel serves.

    Desktops' disks are not in it. Keep it as secret as the home.
    """
    from oriel.controller.store.archive import back_up

    of = home_of(home)
    _tell(Output(json=json), "backed up", back_up(_database(of), _files(of), file.resolve()))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `oriel backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Set the home's own database aside, in HOME/controller.")
    ] = False,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Put a backup into a home, or into the empty database that `database_url` names. Stop Oriel first."""
    from oriel.controller.composition import alone, make_directories
    from oriel.controller.store.archive import read_back

    of = home_of(home)
    make_directories(of)
    with alone(of):
        url = _database(of)
        own = url == _own(of.database)
        draft = of.database.with_name(f".{of.database.name}.restoring")
        if own:
            _must_be_free(of, replace=replace)
            draft.unlink(missing_ok=True)
        try:
            kept = _aside(of.secret_key, of.admin_token) if replace else []
            summary = read_back(_own(draft) if own else url, file.resolve(), _files(of))
        except BaseException:
            draft.unlink(missing_ok=True)
            for path in kept:
                path.with_name(f"{path.name}.before-restore").replace(path)
            raise
        if own:
            _aside(of.database)
            draft.replace(of.database)
        _give_to_the_account(of)
    _tell(Output(json=json), "restored", summary)


def _database(home: Home) -> str:
    from oriel.host.settings import load_settings

    return load_settings(home.settings, {}, os.environ).database_url or _own(home.database)


def _own(path: Path) -> str:
    return f"sqlite:///{path}"


def _files(home: Home) -> dict[str, Path]:
    return {"secret.key": home.secret_key, "admin.token": home.admin_token, "oriel.toml": home.settings}


def _must_be_free(home: Home, *, replace: bool) -> None:
    from oriel.model.errors import StateError

    if home.database.exists() and not replace:
        raise StateError(
            f"{home.root} has a database already", hint="--replace sets it aside; --home restores elsewhere"
        )


def _aside(*paths: Path) -> list[Path]:
    """Out of the way, not away: NAME.before-restore."""
    found = [path for path in paths if path.exists()]
    for path in found:
        path.replace(path.with_name(f"{path.name}.before-restore"))
    return found


def _give_to_the_account(home: Home) -> None:
    """What root has written belongs to the controller's user."""
    from oriel.host.accounts import oriel_account

    if os.geteuid() == 0:
        account = oriel_account()
        for path in (home.controller, *home.controller.iterdir()):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _tell(output: Output, verb: str, summary: Summary) -> None:
    rows = {name: count for name, count in summary.rows.items() if count}
    told = ", ".join(f"{count} {name}" for name, count in sorted(rows.items())) or "nothing"
    document = {
        "created_at": summary.created_at, "version": summary.version,
        "rows": dict(summary.rows), "files": list(summary.files),
    }  # fmt: skip
    output.result(document, f"{verb}: {told}; {', '.join(summary.files) or 'no files'}")
