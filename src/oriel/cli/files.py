"""`oriel cp`: files and directories in and out, as `docker cp` does it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from oriel.cli.options import HomeOption, JsonFlag, connect
from oriel.cli.output import Output
from oriel.model.errors import Fault, HostError, InvalidError, NotFoundError, OrielError, UnavailableError

if TYPE_CHECKING:
    from oriel.client.sync.desktop import Desktop

__all__ = ["cp"]

PRIVATE = 0o600
LARGE = 16 << 20
MOST_TRIES = 5
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


@dataclass
class Tally:
    """What was copied, for the answer; `skipped`: links and special files."""

    files: int = 0
    bytes: int = 0
    skipped: list[str] = field(default_factory=list)


def cp(
    source: Annotated[str, typer.Argument(metavar="SRC", help="PATH, or NAME:PATH in a desktop.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The same; one of the two is in a desktop.")],
    json: JsonFlag = False,
    home: HomeOption = None,
) -> None:
    """Copy a file or directory into a desktop or out of it."""
    output = Output(json=json)
    name_from, path_from = _split(source)
    name_to, path_to = _split(target)
    if (name_from is None) == (name_to is None):
        raise InvalidError.of(
            [Fault("SRC, DST", "just one of them must be NAME:PATH")],
            hint="a local path with a colon is written ./with:colon",
        )
    tally = Tally()
    with connect(home) as oriel:
        if name_to is not None:
            desktop = oriel.desktop(name_to)
            _copy_in(desktop, Path(path_from), path_to, tally)
        else:
            desktop = oriel.desktop(str(name_from))
            _copy_out(desktop, path_from, Path(path_to), tally)
    for path in tally.skipped:
        output.note(f"skipped {path}: neither a file nor a directory")
    document = {"files": tally.files, "bytes": tally.bytes, "skipped": tally.skipped}
    output.result(document, f"{tally.files} files, {tally.bytes} bytes")


def _split(text: str) -> tuple[str | None, str]:
    """(desktop, path) of NAME:PATH, (None, path) of a local path."""
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name or name == ".":
        return None, text
    return name, path or "."


def _copy_in(desktop: Desktop, source: Path, target: str, tally: Tally) -> None:
    if not source.exists():
        raise NotFoundError(f"there is no {source} on this machine", hint="check the path")
    into = _is_directory(desktop, target)
    if target.endswith("/") and not into:
        raise NotFoundError(
            f"there is no directory {target} in {desktop.info.name}",
            hint=f"oriel exec {desktop.info.name} -- mkdir -p {target}",
        )
    top = str(PurePosixPath(target) / source.resolve().name) if into else target
    for path, relative in _walk(source, tally):
        place = str(PurePosixPath(top) / relative) if relative.parts else top
        if path.is_dir():
            made = desktop.exec(["mkdir", "-p", "--", place])
            if made.exit_code:
                raise HostError(f"{place} could not be made: {made.stderr.strip()}", hint="name another DST")
            continue
        try:
            stream = path.open("rb")
        except OSError as error:
            raise HostError(
                f"{path} cannot be read: {error.strerror}", hint="check its permissions"
            ) from error
        with stream:
            _send(desktop, stream, place, path.stat().st_mode & 0o777)
            tally.bytes += stream.tell()
        tally.files += 1


def _send(desktop: Desktop, stream: BinaryIO, place: str, mode: int) -> None:
    """A large file goes on where it was when the controller or the network was away for a moment."""
    if os.fstat(stream.fileno()).st_size < LARGE:
        desktop.files.upload(stream, place, mode=mode)
        return
    upload, tries = secrets.token_hex(16), 0
    while True:
        try:
            stream.seek(0)
            desktop.files.upload(stream, place, mode=mode, upload=upload)
            return
        except UnavailableError:
            tries += 1
            if tries > MOST_TRIES:
                raise
            time.sleep(tries)  # no event tells when it is back


def _walk(source: Path, tally: Tally) -> Iterator[tuple[Path, PurePosixPath]]:
    """A file itself, or a directory with all below it, parents first; links are followed only at the top."""
    yield source, PurePosixPath()
    if not source.is_dir():
        return
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            tally.skipped.append(str(path))
        else:
            yield path, PurePosixPath(path.relative_to(source).as_posix())


def _copy_out(desktop: Desktop, source: str, target: Path, tally: Tally) -> None:
    is_directory = _is_directory(desktop, source)
    name = PurePosixPath(source).name
    if target.is_dir() and name not in ("", "..", "."):
        target = target / name
    if is_directory:
        _fetch_directory(desktop, source, target, tally)
    else:
        _fetch_file(desktop, source, target, 0o644, tally)


def _fetch_directory(desktop: Desktop, source: str, target: Path, tally: Tally) -> None:
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise HostError(f"{target} cannot be made: {error.strerror}", hint="name another DST") from error
    for entry in desktop.files.list(source):
        place = str(PurePosixPath(source) / entry.name)
        # The guest names its files: none of them may lead out of the directory it is copied into.
        if entry.name in ("", ".", "..") or "/" in entry.name or "\0" in entry.name:
            tally.skipped.append(place)
        elif entry.type == "directory":
            _fetch_directory(desktop, place, target / entry.name, tally)
        elif entry.type == "file":
            _fetch_file(desktop, place, target / entry.name, entry.mode & 0o777, tally)
        else:
            tally.skipped.append(place)


def _fetch_file(desktop: Desktop, source: str, target: Path, mode: int, tally: Tally) -> None:
    """Beside the target first, so that a copy that breaks off leaves what was there."""
    part = target.with_name(f".{target.name}.part")
    try:
        with os.fdopen(os.open(part, _NEW, PRIVATE), "wb") as sink:
            desktop.files.download(source, sink)
            tally.bytes += sink.tell()
        part.chmod(mode)
        part.replace(target)
    except OSError as error:
        raise HostError(f"{target} cannot be written: {error.strerror}", hint="name another DST") from error
    finally:
        part.unlink(missing_ok=True)
    tally.files += 1


def _is_directory(desktop: Desktop, path: str) -> bool:
    try:
        desktop.files.list(path)
    except OrielError as error:
        if isinstance(error, NotFoundError | InvalidError):
            return False
        raise
    return True
