"""One need of the host, looked at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """`fatal`: without it no desktop runs. `hint` says what to do."""

    id: str
    ok: bool
    fatal: bool
    detail: str
    hint: str = ""
