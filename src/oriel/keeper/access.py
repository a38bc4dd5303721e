"""The access log of a desktop's way out: who went where, when, and how much. Never a path or a body."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oriel.model.events import utc_now

__all__ = ["AccessLog"]

MOST_BYTES = 8 << 20  # then it becomes the old one, in place of the one before
_LOG = logging.getLogger(__name__)


class AccessLog:
    """JSON lines in `path`, and the older ones in `path`.1. A full disk costs lines, not the way out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps({"at": utc_now(), **entry}, separators=(",", ":")) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                size = file.tell()
            if size > MOST_BYTES:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._failed = False
        except OSError as error:
            if not self._failed:
                _LOG.warning("the access log cannot be written: %s", error.strerror)
            self._failed = True
