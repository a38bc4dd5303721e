"""Still pictures of desktops for the wall: small, taken only while somebody looks, kept when they stop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from oriel.controller.guest import Guest
from oriel.controller.picture import Image, encode_png, shrink
from oriel.controller.store.desktops import Desktop
from oriel.fleet import Fleet
from oriel.model.errors import OrielError
from oriel.model.spec import check_desktop_id
from oriel.model.state import State

__all__ = ["Still", "Stills"]

AT_ONCE = 2
FIRST_WAIT_S = 3.0  # for the first still of a desktop; later ones do not wait
MOST_IN_MEMORY = 500
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Still:
    """A small PNG; `etag` changes with the picture."""

    png: bytes
    etag: str
    taken: float  # monotonic; 0 for one read from disk

    @staticmethod
    def of(png: bytes, taken: float) -> Still:
        return Still(png, f'"{hashlib.sha256(png).hexdigest()[:20]}"', taken)


class Stills:
    def __init__(self, directory: Path, fleet: Fleet, interval_s: float) -> None:
        self._directory = directory
        self._fleet = fleet
        self._interval_s = interval_s
        self._kept: dict[str, Still] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, desktop: Desktop) -> Still | None:
        """The latest still, None if there never was one. One that is old is taken again meanwhile."""
        still = self._kept.get(desktop.id) or await self._read(desktop.id)
        if desktop.state is State.RUNNING and self._is_old(still):
            taking = self._taking.get(desktop.id)
            if taking is None:
                taking = asyncio.create_task(self._take(desktop.id), name=f"still {desktop.id}")
                self._taking[desktop.id] = taking
                taking.add_done_callback(lambda _: self._taking.pop(desktop.id, None))
            if still is None:
                await asyncio.wait([taking], timeout=FIRST_WAIT_S)
        return self._kept.get(desktop.id) or still

    def forget(self, desktop_id: str) -> None:
        """The desktop is gone, and its picture with it."""
        self._kept.pop(desktop_id, None)
        if taking := self._taking.get(desktop_id):
            taking.cancel()
        self._path(desktop_id).unlink(missing_ok=True)

    async def close(self) -> None:
        tasks = list(self._taking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_old(self, still: Still | None) -> bool:
        return still is None or not still.taken or time.monotonic() - still.taken > self._interval_s

    async def _take(self, desktop_id: str) -> None:
        try:
            async with self._turns:
                screen = await Guest(self._fleet.keeper(desktop_id)).screen()
                png = await asyncio.to_thread(_small, screen)
            still = Still.of(png, time.monotonic())
            old = self._kept.get(desktop_id)
            if len(self._kept) >= MOST_IN_MEMORY:
                self._kept.pop(next(iter(self._kept)))
            self._kept[desktop_id] = still
            if old is None or old.etag != still.etag:
                await asyncio.to_thread(self._write, desktop_id, png)
        except (OrielError, TimeoutError, OSError) as error:
            _LOG.debug("no still", desktop=desktop_id, reason=str(error))

    async def _read(self, desktop_id: str) -> Still | None:
        try:
            png = await asyncio.to_thread(self._path(desktop_id).read_bytes)
        except FileNotFoundError:
            return None
        self._kept[desktop_id] = Still.of(png, 0)
        return self._kept[desktop_id]

    def _write(self, desktop_id: str, png: bytes) -> None:
        path = self._path(desktop_id)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(png)
        draft.replace(path)

    def _path(self, desktop_id: str) -> Path:
        return self._directory / f"{check_desktop_id(desktop_id)}.png"


def _small(screen: Image) -> bytes:
    return encode_png(shrink(screen))
