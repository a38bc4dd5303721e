"""Problem details (RFC 9457) and WebSocket closes, turned back into the errors they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from oriel.model.errors import (
    AuthError,
    BusyError,
    Fault,
    ForbiddenError,
    HostError,
    InvalidError,
    LaunchError,
    NoSpaceError,
    NotFoundError,
    OrielError,
    QuotaError,
    StateError,
    UnavailableError,
    WireError,
)

__all__ = ["error_of_close", "error_of_response"]

_BY_CODE: dict[str, type[OrielError]] = {
    kind.default_code: kind
    for kind in (
        InvalidError, NotFoundError, AuthError, ForbiddenError, StateError, QuotaError, BusyError,
        UnavailableError, NoSpaceError, HostError, LaunchError, WireError,
    )
}  # fmt: skip
# For codes that are finer than their class, the status says which class it is.
_BY_STATUS: dict[int, type[OrielError]] = {
    400: InvalidError,
    401: AuthError,
    403: ForbiddenError,
    404: NotFoundError,
    405: NotFoundError,
    409: StateError,
    413: InvalidError,
    422: InvalidError,
    429: BusyError,
    502: WireError,
    503: UnavailableError,
    507: NoSpaceError,
}
_CLOSE_BASE = 4000  # close codes 4000 to 4999 are private use (RFC 6455, 7.4.2); ours add the HTTP status


def error_of_response(status: int, body: bytes, headers: Mapping[str, str]) -> OrielError:
    """The error an HTTP answer stands for. `headers` must be case-insensitive or lower case.

    An answer that is no problem document (a reverse proxy's page, say) gives an error by its status.
    """
    document = _problem(body)
    code = str(document.get("code") or "")
    message = str(document.get("detail") or document.get("title") or f"the controller answered {status}")
    return _make(
        _BY_CODE.get(code) or _BY_STATUS.get(status, OrielError),
        message,
        hint=str(document.get("hint") or _default_hint(status, bool(document))),
        code=code,
        faults=_faults(document),
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def error_of_close(code: int, reason: str) -> OrielError:
    """The error a WebSocket was closed with: `code` is 4000 + HTTP status, `reason` the error's code."""
    status = code - _CLOSE_BASE
    kind = _BY_CODE.get(reason) or _BY_STATUS.get(status, UnavailableError)
    text = reason.replace("_", " ") if reason else f"code {code}"
    return _make(kind, f"the connection was closed: {text}", code=reason if reason in _BY_CODE else "")


def _make(
    kind: type[OrielError],
    message: str,
    *,
    hint: str = "",
    code: str = "",
    faults: list[Fault] | None = None,
    retry_after_s: float = 1,
) -> OrielError:
    if kind is InvalidError or kind is QuotaError:
        return kind(message, faults=faults or [], hint=hint, code=code)
    if kind is BusyError:
        return BusyError(message, retry_after_s=retry_after_s, hint=hint, code=code)
    return kind(message, hint=hint, code=code)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _faults(document: Mapping[str, Any]) -> list[Fault]:
    found = document.get("faults")
    return [
        Fault(str(fault.get("field", "")), str(fault.get("problem", "")))
        for fault in (found if isinstance(found, list) else [])
        if isinstance(fault, dict)
    ]


def _seconds(value: str | None) -> float:
    """Retry-After in seconds; its date form is not one of ours."""
    try:
        return max(0.0, float(value or 1))
    except ValueError:
        return 1.0


def _default_hint(status: int, ours: bool) -> str:
    if ours:
        return ""
    return (
        "set ORIEL_TOKEN to a valid token" if status == 401 else "is ORIEL_URL the address of a controller?"
    )
