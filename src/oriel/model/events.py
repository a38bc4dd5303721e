"""What happened to a desktop, as one value: stored, streamed, counted, logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["Event", "utc_now"]


def utc_now() -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Event:
    """`seq` rises by one within a keeper's journal. `kind` is dotted: `state.running`, `step.disk`,
    `machine.exited`, `egress.denied`, `service.restarted`. `data` is JSON, never a secret."""

    seq: int
    at: str
    desktop: str
    kind: str
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq, "at": self.at, "desktop": self.desktop,
            "kind": self.kind, "message": self.message, "data": dict(self.data),
        }  # fmt: skip

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Event:
        return Event(**{key: data[key] for key in ("seq", "at", "desktop", "kind", "message", "data")})
