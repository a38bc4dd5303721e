"""Errors as HTTP: one table, and problem details (RFC 9457) made from it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog

from oriel.controller.encoding import JsonResponse
from oriel.host.exhaustion import exhausted
from oriel.model.errors import (
    AuthError,
    BusyError,
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

__all__ = ["ProblemResponse", "neutral", "problem", "status_of"]

_LOG = structlog.get_logger(__name__)

STATUS: tuple[tuple[type[OrielError], int], ...] = (
    (InvalidError, 422),
    (NotFoundError, 404),
    (AuthError, 401),
    (ForbiddenError, 403),
    (BusyError, 429),
    (StateError, 409),
    (QuotaError, 409),
    (UnavailableError, 503),
    (NoSpaceError, 507),
    (WireError, 502),
    (HostError, 500),
    (LaunchError, 500),
)
# Codes that say more than their class.
BY_CODE = {
    "not_supported": 501,
    "runtime_unavailable": 422,  # the request names it: asking again later changes nothing
    "too_large": 413,
    "method_not_allowed": 405,
    "bad_request": 400,
    "length_required": 411,
}


class ProblemResponse(JsonResponse):
    media_type = "application/problem+json"


def status_of(error: OrielError) -> int:
    """The HTTP status of an error; 500 for one that has no row in the table."""
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def problem(error: OrielError, *, request_id: str = "") -> ProblemResponse:
    """The answer that tells this error."""
    status = status_of(error)
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": error.message,
        "hint": error.hint,
    }
    if isinstance(error, InvalidError | QuotaError):
        document["faults"] = [{"field": fault.field, "problem": fault.problem} for fault in error.faults]
    if request_id:
        document["instance"] = f"urn:oriel:request:{request_id}"
    return ProblemResponse(document, status_code=status, headers=_headers(error, status))


def neutral(error: BaseException) -> OrielError:
    """What to say of an error that nobody foresaw: what has run out, or one sentence and the number of its
    line in the log."""
    number = secrets.token_hex(4)
    _LOG.error("unexpected error", error_id=number, exc_info=error)
    return exhausted(error) or OrielError(
        f"something unexpected went wrong (error {number})",
        hint="try again; the operator finds the reason in the controller's log under this number",
    )


def _headers(error: OrielError, status: int) -> Mapping[str, str]:
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="oriel"'
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    elif status == 503:
        headers["Retry-After"] = "2"
    return headers
