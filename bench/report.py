"""How a figure is printed: a table for people on stderr, one JSON document on stdout."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["percentiles", "publish"]


def percentiles(samples: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """p50, p95, min, max and the raw samples, in the samples' own unit."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered), digits),
        "p95": round(ordered[min(last, round(0.95 * last))], digits),
        "min": round(ordered[0], digits),
        "max": round(ordered[last], digits),
        "samples": [round(value, digits) for value in samples],
    }


def publish(title: str, rows: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> None:
    """Print `rows` (all with the same keys) as a table on stderr and `document` as JSON on stdout."""
    table = Table(title=title)
    for key in rows[0] if rows else ():
        table.add_column(key)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(stderr=True).print(table)
    json.dump(document, sys.stdout)
    print(flush=True)
