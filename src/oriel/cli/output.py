"""What people and programs read: results on stdout, everything else on stderr, errors in two lines."""

from __future__ import annotations

import json
import os
import secrets
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from oriel.model.errors import (
    AuthError,
    HostError,
    InvalidError,
    LaunchError,
    NotFoundError,
    OrielError,
    RefusedError,
    UnavailableError,
)
from oriel.model.events import utc_now

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "REFUSED",
    "WRONG_USAGE",
    "Output",
    "plain",
    "record",
]

# Exit statuses, fixed by CONTRACT; 130 is the shell's for Ctrl-C.
DONE, FAILED, WRONG_USAGE, NOT_FOUND, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130

# What to do, for errors whose origin could not know.
_HINTS: tuple[tuple[type[OrielError], str], ...] = (
    (InvalidError, "correct what is named and try again; --help tells what is allowed"),
    (NotFoundError, "`oriel list` shows the desktops there are"),
    (AuthError, "set ORIEL_TOKEN to a valid token, or run this on the controller's host as root"),
    (RefusedError, "`oriel show` tells the state it is in"),
    (HostError, "`oriel doctor` tells what this host lacks"),
    (LaunchError, "`oriel doctor` tells what this host lacks; `oriel logs` shows a desktop's console"),
    (UnavailableError, "is it running? ./run starts it"),
)


class Output:
    """Of one run of the command line. `json`: one document on stdout, nothing else there."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def document(self, value: object) -> None:
        """The one JSON document."""
        print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))

    def result(self, value: object, text: str) -> None:
        """`value` for programs, `text` for people."""
        if self.json:
            self.document(value)
        elif text:
            print(text)

    def note(self, text: str) -> None:
        """Progress and remarks."""
        print(plain(text), file=sys.stderr, flush=True)

    def table(self, value: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """`value` for programs, a table for people: aligned plain text, so that it can be cut and sorted."""
        if self.json:
            self.document(value)
            return
        cells = [list(columns), *([plain(str(cell)) for cell in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
        for row in cells:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print(line.rstrip())

    def error(self, error: OrielError) -> int:
        """Say what happened and what to do; the exit status it stands for."""
        hint = error.hint or next((text for kind, text in _HINTS if isinstance(error, kind)), "")
        first, *rest = plain(error.message).splitlines() or [""]
        print(f"error: {first}", file=sys.stderr)
        for line in rest:
            print(f"  {line}", file=sys.stderr)
        print(f"hint: {plain(hint or 'try again; `oriel --help` tells what there is')}", file=sys.stderr)
        if self.json:
            self.document({"error": error.to_wire() | {"hint": hint}})
        return status_of(error)


def status_of(error: OrielError) -> int:
    """CONTRACT's exit status of an error."""
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    return REFUSED if isinstance(error, RefusedError) else FAILED


def plain(text: str) -> str:
    """Without control characters: titles and names from a guest must not drive the reader's terminal."""
    lines = text.replace("\r\n", "\n")
    return "".join(
        character if character.isprintable() or character in "\n\t" else "�" for character in lines
    )


def record(error: BaseException) -> OrielError:
    """Write an unknown error to the log; the neutral sentence, with the id under which it is there."""
    number = secrets.token_hex(4)
    log = _log_path()
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(f"{utc_now()} {number}\n{''.join(traceback.format_exception(error))}\n")
    except OSError as unwritable:
        reason = unwritable.strerror or type(unwritable).__name__
        kind = type(error).__name__
        return OrielError(
            f"something unexpected went wrong ({kind}), and {log} cannot be written: {reason}",
            hint="set XDG_STATE_HOME to a directory you may write and try again",
        )
    return OrielError(
        "something unexpected went wrong; it is our mistake, not yours",
        hint=f"report it with the entry {number} of {log}",
    )


def _log_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "oriel" / "cli.log"
