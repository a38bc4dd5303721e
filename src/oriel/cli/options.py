"""Options that many commands share, and how a command reaches its desktop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from oriel.client import AsyncOriel, Oriel
    from oriel.host.layout import Home
    from oriel.model.secret import Secret

__all__ = ["HomeOption", "JsonFlag", "NameArgument", "connect", "home_of", "read_secret", "run"]

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home of the controller on this host (default: ORIEL_URL and ORIEL_TOKEN, "
        "else $ORIEL_HOME, else /var/lib/oriel).",
        show_default=False,
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the desktop.")]

T = TypeVar("T")


def home_of(home: Path | None) -> Home:
    """The home on this host, with its images where its settings say. InvalidError for wrong settings."""
    import os

    from oriel.host.layout import Home, default_home
    from oriel.host.settings import load_settings

    root = (home or default_home()).resolve()
    return Home(root, load_settings(Home(root).settings, {}, os.environ).images_directory)


def connect(home: Path | None) -> Oriel:
    """The controller, found as the SDK finds it."""
    from oriel.client import Oriel

    return Oriel(home=home)


def run(home: Path | None, work: Callable[[AsyncOriel], Coroutine[Any, Any, T]]) -> T:
    """Run something asynchronous against the controller."""
    import asyncio

    from oriel.client import AsyncOriel

    async def body() -> T:
        async with AsyncOriel(home=home) as oriel:
            return await work(oriel)

    return asyncio.run(body())


def read_secret(path: Path | None, question: str, option: str) -> Secret:
    """What may stand on no command line: the text of a file, or what is typed, or what comes on stdin.

    InvalidError if nothing comes.
    """
    import sys

    from oriel.model.errors import Fault, InvalidError
    from oriel.model.secret import Secret

    if path is None and sys.stdin.isatty():
        import getpass

        return Secret(getpass.getpass(question).strip())
    try:
        text = path.read_text() if path else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidError.of([Fault(option, f"{path} cannot be read: {reason}")]) from error
    if not text.strip():
        raise InvalidError.of([Fault(option, "nothing came, neither in a file nor on stdin")])
    return Secret("\n".join(line.strip() for line in text.strip().splitlines()))
