"""The Python SDK: `Oriel`, and `AsyncOriel` with the same methods to await."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oriel.client.aio.client import AsyncOriel
    from oriel.client.sync.client import Oriel
    from oriel.client.values import Channel, CommandResult, DesktopInfo, FileEntry, Ticket

__all__ = ["AsyncOriel", "Channel", "CommandResult", "DesktopInfo", "FileEntry", "Oriel", "Ticket"]

_HOMES = {"AsyncOriel": "oriel.client.aio.client", "Oriel": "oriel.client.sync.client"}


def __getattr__(name: str) -> object:
    # Only what is used is imported: the command line must start quickly.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "oriel.client.values")), name)
