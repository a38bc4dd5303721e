"""A desktop's clipboard from the command line: text, markup, a picture, and which way it may go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output
from oriel.model.errors import Fault, HostError, InvalidError, NotFoundError

__all__ = ["app"]

app = typer.Typer(help="What is copied in a desktop, and what is pasted there.", no_args_is_help=True)


@app.command("get")
def get(
    name: NameArgument,
    *,
    html: Annotated[bool, typer.Option("--html", help="The markup instead of the text.")] = False,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="The picture instead, into this file.")
    ] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Print what was copied in a desktop."""
    output = Output(json=json)
    with connect(home) as oriel:
        computer = oriel.desktop(name).computer
        if image is not None:
            picture = computer.clipboard_image()
            if picture is None:
                raise NotFoundError(f"there is no picture on the clipboard of {name}", hint="copy one there")
            _write(image, picture)
            output.result({"file": str(image), "bytes": len(picture)}, f"{image}: {len(picture)} bytes")
            return
        text = computer.clipboard_html() if html else computer.clipboard()
    output.result({"html" if html else "text": text}, text or "")


@app.command("set")
def set_(
    name: NameArgument,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="What is pasted next; - reads it from stdin.")
    ] = None,
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The same as markup, for programs that take it.")
    ] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE.png", help="A picture instead.")] = None,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Put text, markup or a picture on a desktop's clipboard."""
    if (image is None) == (text is None and html is None):
        raise InvalidError.of([Fault("TEXT, --html, --image", "give text, markup, both, or a picture")])
    given = sys.stdin.read() if text == "-" else text
    with connect(home) as oriel:
        computer = oriel.desktop(name).computer
        if image is not None:
            computer.set_clipboard_image(_read(image))
        else:
            computer.set_clipboard(
                given, html=None if html is None else _read(html).decode("utf-8", "replace")
            )
    Output(json=json).result({"set": True}, "")


@app.command("way")
def way(
    name: NameArgument,
    which: Annotated[str, typer.Argument(metavar="off|in|out|both", help="As the desktop sees it.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Decide which way a desktop's clipboard goes."""
    with connect(home) as oriel:
        oriel.desktop(name).change(clipboard=which)
    Output(json=json).result({"name": name, "clipboard": which}, f"the clipboard of {name}: {which}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", hint="name another file") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
