"""What happened to a desktop, on disk: JSON lines, each synced before the thing it announces is done.

A keeper that was killed reads here what it had begun. A torn last line (the host lost power while it
was written) is cut off; a damaged one elsewhere is passed over. The journal is also the event stream:
a reader follows the file itself, so a slow one costs no memory and a late one misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from oriel.keeper.ledger import Ledger
from oriel.model.errors import NoSpaceError
from oriel.model.events import Event, utc_now

__all__ = ["Journal", "read_events", "read_ledger"]

COMPACT_BYTES = 4 << 20  # a journal longer than this is shortened when a keeper opens it
KEPT_EVENTS = 1000
_LOG = logging.getLogger(__name__)


def read_events(path: Path) -> Iterator[Event]:
    """Every event in `path`, in order; damaged lines are passed over. Nothing if there is no file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            event = _parse(line)
            if event is not None:
                yield event


def read_ledger(path: Path) -> Ledger:
    """What the journal in `path` says of its desktop now. For readers beside the keeper."""
    ledger = Ledger()
    for event in read_events(path):
        ledger.take(event)
    return ledger


class Journal:
    """One desktop's journal, opened by its only writer. `ledger` is the sum of what it says."""

    def __init__(self, path: Path, desktop_id: str) -> None:
        """Open or make the file, cut off a torn end, add everything up."""
        self._path = path
        self._desktop = desktop_id
        self._followers: set[asyncio.Event] = set()
        self.ledger = read_ledger(path)
        if path.exists() and path.stat().st_size > COMPACT_BYTES:
            self._compact()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640)
        self._cut_torn_end()

    @property
    def seq(self) -> int:
        return self.ledger.seq

    def record(self, kind: str, message: str = "", *, must_write: bool = True, **data: Any) -> Event:
        """Append an event and sync it to the disk; then followers see it. `data` never holds a secret.

        If it cannot be written: NoSpaceError, and it has not happened; or, for what is a fact already
        (not `must_write`), it counts until this keeper ends and is logged.
        """
        event = Event(
            seq=self.seq + 1, at=utc_now(), desktop=self._desktop, kind=kind, message=message, data=data
        )
        try:
            self._append(_line(event))
        except NoSpaceError:
            if must_write:
                raise
            _LOG.exception("an event could not be written")
        self.ledger.take(event)
        for news in self._followers:
            news.set()
        _LOG.info("%s", kind, extra={"event": {"seq": event.seq, "text": message} | data})
        return event

    async def follow(self, after: int) -> AsyncIterator[bytes]:
        """Each event with a higher `seq` than `after`, as a JSON line: those recorded, then live ones."""
        news = asyncio.Event()
        self._followers.add(news)
        try:
            with self._path.open("rb") as file:
                while True:
                    news.clear()
                    for line in file:
                        event = _parse(line)
                        if event is not None and event.seq > after:
                            yield line
                    await news.wait()
        finally:
            self._followers.discard(news)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError("only a part was written")
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise NoSpaceError(
                f"the journal {self._path} cannot be written: {error.strerror or error}",
                hint="free space on the file system of the home directory",
            ) from error

    def _cut_torn_end(self) -> None:
        size = os.fstat(self._fd).st_size
        start = max(0, size - COMPACT_BYTES)
        end = os.pread(self._fd, size - start, start)
        if not end or end.endswith(b"\n"):
            return
        whole = start + end.rfind(b"\n") + 1
        _LOG.warning("the journal's last line was torn: %d bytes cut off", size - whole)
        os.ftruncate(self._fd, whole)
        os.fsync(self._fd)

    def _compact(self) -> None:
        events = list(read_events(self._path))
        dropped, kept = events[:-KEPT_EVENTS], events[-KEPT_EVENTS:]
        if not dropped:
            return
        before = Ledger()
        for event in dropped:
            before.take(event)
        last = dropped[-1]
        summary = Event(
            seq=last.seq, at=last.at, desktop=self._desktop, kind="journal.compacted",
            message=f"{len(dropped)} older events were dropped", data=before.to_json(),
        )  # fmt: skip
        draft = self._path.with_name(f".{self._path.name}.draft")
        with draft.open("wb") as file:
            file.writelines(_line(event) for event in (summary, *kept))
            file.flush()
            os.fchmod(file.fileno(), 0o640)
            os.fsync(file.fileno())
        draft.replace(self._path)


def _line(event: Event) -> bytes:
    return json.dumps(event.to_json(), separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> Event | None:
    """None for a line that is torn or says nothing we could have written."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = Event.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = isinstance(event.seq, int) and isinstance(event.kind, str) and isinstance(event.data, dict)
    return event if sound else None
