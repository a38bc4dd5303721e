"""What the API answers, as values. Fields a newer controller adds are kept in `document`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oriel.model.errors import WireError
from oriel.model.spec import Screen

__all__ = ["Channel", "CommandResult", "DesktopInfo", "FileEntry", "Page", "Ticket", "text_of_error"]


class Channel:
    """The byte channels of a command's WebSocket: the agent's `exec` (docs/internals.md)."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    RESIZE = 4
    SIGNAL = 5


@dataclass(frozen=True, kw_only=True)
class DesktopInfo:
    """A desktop as the controller last described it. `document` is its JSON, unchanged."""

    id: str
    name: str
    owner: str
    session_id: str
    state: str
    runtime: str
    isolation: str
    image: str
    screen: Screen
    proxy: str | None
    viewer_url: str
    created_at: str
    ready_at: str | None
    timings: Mapping[str, float]
    error: str
    document: Mapping[str, Any] = field(repr=False)

    @staticmethod
    def of(document: object) -> DesktopInfo:
        """WireError if it is no desktop object."""
        data = _mapping(document, "desktop", "id", "name", "state")
        screen = data.get("screen") or {}
        return DesktopInfo(
            **{key: str(data.get(key) or "") for key in _TEXTS},
            screen=Screen(width=int(screen.get("width", 0)), height=int(screen.get("height", 0))),
            proxy=data.get("proxy") or None,
            ready_at=data.get("ready_at") or None,
            timings={str(key): float(value) for key, value in (data.get("timings") or {}).items()},
            error=text_of_error(data.get("error")),
            document=data,
        )


_TEXTS = (
    "id", "name", "owner", "session_id", "state", "runtime", "isolation", "image", "viewer_url", "created_at",
)  # fmt: skip


@dataclass(frozen=True)
class Ticket:
    """A short-lived right to view or drive one desktop."""

    ticket: str = field(repr=False)
    viewer_url: str = field(repr=False)
    expires_at: str

    @staticmethod
    def of(document: object) -> Ticket:
        data = _mapping(document, "ticket", "ticket", "viewer_url", "expires_at")
        return Ticket(str(data["ticket"]), str(data["viewer_url"]), str(data["expires_at"]))


@dataclass(frozen=True)
class CommandResult:
    """How a command in a desktop ended; outputs as text. `truncated`: they were longer than is kept."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    truncated: bool = False

    @staticmethod
    def of(document: object) -> CommandResult:
        data = _mapping(document, "command's result", "exit_code", "stdout", "stderr")
        return CommandResult(
            exit_code=int(data["exit_code"]),
            stdout=str(data["stdout"]),
            stderr=str(data["stderr"]),
            seconds=float(data.get("seconds", 0)),
            timed_out=bool(data.get("timed_out")),
            truncated=bool(data.get("truncated")),
        )


@dataclass(frozen=True)
class FileEntry:
    """One entry of a directory; `type` is file, directory, link or other; `mode` the permission bits."""

    name: str
    type: str
    size: int
    mode: int
    mtime: float

    @staticmethod
    def of(document: object) -> FileEntry:
        data = _mapping(document, "file entry", "name", "type")
        return FileEntry(
            str(data["name"]),
            str(data["type"]),
            int(data.get("size", 0)),
            int(data.get("mode", 0)),
            float(data.get("mtime", 0)),
        )


@dataclass(frozen=True)
class Page:
    """Part of a list, newest first; `next` is the cursor of what follows, None at the end."""

    items: list[dict[str, Any]]
    next: str | None

    @staticmethod
    def of(document: object) -> Page:
        data = _mapping(document, "list", "items")
        if not isinstance(data.get("items"), list):
            raise WireError("the controller's list has no items")
        return Page([dict(item) for item in data["items"]], data.get("next") or None)


def text_of_error(value: object) -> str:
    """A desktop's `error` as one sentence, whether it is text or an object with message and hint."""
    if isinstance(value, Mapping):
        message, hint = str(value.get("message") or value.get("detail") or ""), str(value.get("hint") or "")
        return f"{message} ({hint})" if message and hint else message or hint
    return str(value or "")


def _mapping(document: object, what: str, *keys: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or not all(key in document for key in keys):
        raise WireError(f"the controller's answer is no {what}", hint="is ORIEL_URL an Oriel controller?")
    return document
