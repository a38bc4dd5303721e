"""Look, type and click, from the command line."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect
from oriel.cli.output import Output
from oriel.model.errors import HostError, WireError

__all__ = ["click", "key", "screenshot", "type_"]


def screenshot(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.png", help="Where to write it; - for stdout.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """The desktop's screen now, as a PNG file."""
    with connect(home) as oriel:
        image = oriel.desktop(name).computer.screenshot()
    width, height = _png_size(image)
    if str(file) == "-" and not json:
        sys.stdout.buffer.write(image)
        return
    try:
        file.write_bytes(image)
    except OSError as error:
        raise HostError(f"{file} cannot be written: {error.strerror}", hint="name another file") from error
    document = {"file": str(file), "width": width, "height": height, "bytes": len(image)}
    Output(json=json).result(document, f"{file}: {width}x{height}, {len(image)} bytes")


def _png_size(image: bytes) -> tuple[int, int]:
    # Signature, then the IHDR chunk, which begins with width and height (PNG, 5.2 and 11.2.2).
    if image[:8] != b"\x89PNG\r\n\x1a\n" or len(image) < 24:
        raise WireError("the controller's screenshot is no PNG file")
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def type_(
    name: NameArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to type; - reads it from stdin.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Type text into what has the focus."""
    typed = sys.stdin.read() if text == "-" else text
    with connect(home) as oriel:
        oriel.desktop(name).computer.type(typed)
    Output(json=json).result({"typed": len(typed)}, "")


def key(
    name: NameArgument,
    keys: Annotated[str, typer.Argument(metavar="KEYS", help="As Return, ctrl+l, alt+F4.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Press a key or a chord."""
    with connect(home) as oriel:
        oriel.desktop(name).computer.key(keys)
    Output(json=json).result({"pressed": keys}, "")


def click(
    name: NameArgument,
    x: Annotated[int, typer.Argument(metavar="X", help="Pixels from the left.", min=0)],
    y: Annotated[int, typer.Argument(metavar="Y", help="Pixels from the top.", min=0)],
    *,
    button: Annotated[str, typer.Option(metavar="left|middle|right")] = "left",
    count: Annotated[int, typer.Option(help="2 for a double click.", min=1, max=3)] = 1,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Click."""
    with connect(home) as oriel:
        oriel.desktop(name).computer.click(x, y, button=button, count=count)
    Output(json=json).result({"x": x, "y": y, "button": button, "count": count}, "")
