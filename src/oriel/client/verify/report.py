"""What `oriel verify` found out, check by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["CRITERIA", "CheckResult", "Report", "UnmetError"]

# MISSION's success criteria, in its order.
CRITERIA = (
    "boot_under_30s", "vnc_connects", "terminal_visible", "browser_visible", "terminal_typing",
    "browser_navigates", "internet", "cli_tools", "stays_alive", "no_disconnects",
)  # fmt: skip


class UnmetError(Exception):
    """A criterion does not hold; the text says what was seen instead."""


@dataclass(frozen=True)
class CheckResult:
    """`detail` says what was seen, whether it passed or not."""

    id: str
    passed: bool
    seconds: float
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "passed": self.passed, "seconds": round(self.seconds, 3), "detail": self.detail,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All ten, in MISSION's order."""

    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        return len(self.checks) == len(CRITERIA) and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "checks": [check.to_json() for check in self.checks]}
