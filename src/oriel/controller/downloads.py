"""Files that were finished in a desktop's Downloads, as its agent tells of them. What it tells is checked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from oriel.controller.guest import Guest
from oriel.model import wire
from oriel.model.errors import UnavailableError, WireError

__all__ = ["Download", "finished"]

MOST_NAME = 255  # characters: of UTF-8 a name has at most so many bytes
BURST, A_SECOND = 20.0, 1.0


@dataclass(frozen=True)
class Download:
    name: str
    size: int


async def finished(guest: Guest) -> AsyncIterator[Download]:
    """Each as it is finished; of a flood only as many as a person can look at.

    UnavailableError when the desktop tells of them no more, WireError if it says what it must not.
    """
    budget, refilled = BURST, time.monotonic()
    async with guest.stream("downloads_watch") as stream:
        while (line := await wire.read_line(stream.reader)) is not None:
            match line:
                case {"name": str(name), "size": int(size)} if size >= 0 and _is_name(name):
                    now = time.monotonic()
                    budget, refilled = min(BURST, budget + (now - refilled) * A_SECOND), now
                    if budget >= 1:
                        budget -= 1
                        yield Download(name, size)
                case _:
                    raise WireError("the desktop told of a download that cannot be")
    raise UnavailableError("the desktop no longer tells of its downloads")


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MOST_NAME and name not in (".", "..") and not {"/", "\0"} & set(name)
