"""Logs of the small root processes: one JSON object a line on stderr, nothing imported for it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from oriel.model import wire

__all__ = ["log_json"]


class _JsonLines(logging.Formatter):
    def __init__(self, always: Mapping[str, str]) -> None:
        super().__init__()
        self._always = dict(always)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if request := wire.REQUEST.get():
            line["request"] = request
        line |= self._always | getattr(record, "event", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_json(level: int = logging.INFO, **always: str) -> None:
    """Send the root logger to stderr as JSON lines, `always` with these fields; and each with the id of the
    request of the API that is served.

    `extra={"event": {…}}` adds fields to a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(always))
    logging.basicConfig(level=level, handlers=[handler], force=True)
