"""Every error Oriel raises on purpose.

    OrielError                 code, message (what happened), hint (what to do)
    ├── InvalidError           the request is wrong; carries all faults together    (HTTP 422, exit 1)
    ├── NotFoundError          no such thing, or not yours                          (404, exit 3)
    ├── RefusedError           known, but not allowed now
    │   ├── AuthError          who are you?                                         (401, exit 4)
    │   ├── ForbiddenError     you may not                                          (403, exit 4)
    │   ├── StateError         the desktop's state does not allow it                (409, exit 4)
    │   ├── QuotaError         more than this user may have; names the fields       (409, exit 4)
    │   └── BusyError          a limit is reached; retry after `retry_after_s`      (429, exit 4)
    ├── UnavailableError       a part we need does not answer                       (503, exit 1)
    ├── NoSpaceError           disk                                                 (507, exit 1)
    ├── HostError              the host lacks something (root, KVM, a tool, a port) (500, exit 1)
    ├── LaunchError            a program failed: command, exit code, tail of log    (500, exit 1)
    └── WireError              the peer on a socket broke the protocol              (502, exit 1)

Messages may be shown to users: never put a secret in one. The private cause travels by `from`.
This module is copied into the guest: standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AuthError",
    "BusyError",
    "Fault",
    "ForbiddenError",
    "HostError",
    "InvalidError",
    "LaunchError",
    "NoSpaceError",
    "NotFoundError",
    "OrielError",
    "QuotaError",
    "RefusedError",
    "StateError",
    "UnavailableError",
    "WireError",
]


class OrielError(Exception):
    """The root. `code` is stable and lower_snake; `message` says what; `hint` says what to do."""

    default_code = "internal"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    def to_wire(self) -> dict[str, Any]:
        """The JSON form in which an error crosses a socket; `from_wire` reverses it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "kind": type(self).__name__}

    @staticmethod
    def from_wire(data: Mapping[str, Any]) -> OrielError:
        """The error a peer answered with, as the same class where it is one of ours."""
        kind = _KINDS.get(str(data.get("kind", "")), OrielError)
        message, hint, code = (str(data.get(key, "")) for key in ("message", "hint", "code"))
        if kind is InvalidError:
            faults = [
                Fault(str(f.get("field", "")), str(f.get("problem", ""))) for f in data.get("faults", [])
            ]
            return InvalidError(message, faults=faults, hint=hint, code=code)
        if kind is BusyError:
            return BusyError(message, retry_after_s=float(data.get("retry_after_s", 1)), hint=hint, code=code)
        return kind(message or "the peer failed without saying why", hint=hint, code=code)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: the field and what is allowed in it."""

    field: str
    problem: str


class InvalidError(OrielError):
    """The request is wrong. All faults are reported together."""

    default_code = "invalid"

    def __init__(self, message: str, *, faults: Sequence[Fault] = (), hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint, code=code)
        self.faults = list(faults)

    def to_wire(self) -> dict[str, Any]:
        return super().to_wire() | {
            "faults": [{"field": fault.field, "problem": fault.problem} for fault in self.faults]
        }

    @staticmethod
    def of(faults: Sequence[Fault], *, hint: str = "") -> InvalidError:
        """One sentence from several faults."""
        text = "; ".join(f"{fault.field}: {fault.problem}" for fault in faults)
        return InvalidError(text, faults=faults, hint=hint)


class NotFoundError(OrielError):
    default_code = "not_found"


class RefusedError(OrielError):
    default_code = "refused"


class AuthError(RefusedError):
    default_code = "unauthenticated"


class ForbiddenError(RefusedError):
    default_code = "forbidden"


class StateError(RefusedError):
    default_code = "wrong_state"


class QuotaError(RefusedError):
    """More than this user may have. All fields that do not fit are told together."""

    default_code = "quota_exceeded"

    def __init__(self, message: str, *, faults: Sequence[Fault] = (), hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint, code=code)
        self.faults = list(faults)

    @staticmethod
    def of(faults: Sequence[Fault]) -> QuotaError:
        """One sentence from several faults."""
        text = "; ".join(f"{fault.field}: {fault.problem}" for fault in faults)
        return QuotaError(
            text, faults=faults, hint="delete something first, or ask an administrator for more"
        )


class BusyError(RefusedError):
    """A limit is reached. `retry_after_s`: when it is worth trying again."""

    default_code = "busy"

    def __init__(self, message: str, *, retry_after_s: float = 1, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after_s = retry_after_s

    def to_wire(self) -> dict[str, Any]:
        return super().to_wire() | {"retry_after_s": self.retry_after_s}


class UnavailableError(OrielError):
    default_code = "unavailable"


class NoSpaceError(OrielError):
    default_code = "no_space"


class HostError(OrielError):
    default_code = "host"


class LaunchError(OrielError):
    """A program of ours failed; the message carries the command, exit code and tail of its log."""

    default_code = "launch_failed"


class WireError(OrielError):
    default_code = "protocol"


_KINDS: dict[str, type[OrielError]] = {
    kind.__name__: kind
    for kind in (
        OrielError, InvalidError, NotFoundError, RefusedError, AuthError, ForbiddenError, StateError,
        QuotaError, BusyError, UnavailableError, NoSpaceError, HostError, LaunchError, WireError,
    )
}  # fmt: skip
