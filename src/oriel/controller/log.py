"""The controller's log: one JSON object a line on stderr, with the request's id, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["configure", "redact_text"]

_SECRET_KEY = re.compile(r"password|secret|token|ticket|grant|authorization|cookie|credential", re.IGNORECASE)
_SECRETS = (
    # scheme://user:password@ of any URL
    (re.compile(r"(://)[^/\s@]+@"), r"\1…@"),
    # our own tokens, tickets, grants and sessions: a prefix and 43 letters (credentials.py)
    (re.compile(r"\b(oriel|ticket|grant|session)([_.])[A-Za-z0-9_-]{16,}"), r"\1\2…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"), r"\1 …"),
)
_SAFE_KEYS = frozenset({"token_id", "ticket_mode"})


def redact_text(text: str) -> str:
    """`text` without anything that looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _redact(value: Any, key: str = "") -> Any:
    if key not in _SAFE_KEYS and _SECRET_KEY.search(key):
        return "…"
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {name: _redact(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item) for item in value]
    return value


def _redacted(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in list(entry):
        entry[key] = _redact(entry[key], key)
    return entry


def _not_refusals(record: logging.LogRecord) -> bool:
    """uvicorn takes a WebSocket that was refused with a document for one that was forgotten."""
    return not record.getMessage().startswith("ASGI callable returned without completing handshake")


def configure(level: str) -> None:
    """Send everything, the libraries' messages too, to stderr as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            _redacted,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(_not_refusals)
    # Each says a line per connection or request; ours say more.
    for name in ("uvicorn.access", "uvicorn.error", "websockets", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
