"""From `create` to ready (both windows painted, by pixels), per runtime; and a machine's moments.

    .venv/bin/python -m bench.instant [--json] [--runs 7] [--runtime container] [--runtime qemu] [--moments]

The rival is a cold boot of the same golden image in QEMU, measured in the same run. Every desktop is
deleted before the next is made. `--moments`: then builds a template, and times what begins there, pause,
resume, snapshot, rewind and fork of a running desktop.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from bench.report import percentiles, publish
from bench.server import serving
from oriel.client import Oriel

T = TypeVar("T")
RIVAL, TEMPLATE = "qemu", "qemu from a template"


def measure(client: Oriel, runtime: str, runs: int) -> tuple[list[float], list[dict[str, float]]]:
    """Seconds from asking to ready as the caller sees them, and the desktop's own timings by step."""
    seconds, steps = [], []
    for _ in range(runs):
        began = time.monotonic()
        name = f"bench-{secrets.token_hex(3)}"
        desktop = client.desktops.create(name, runtime=runtime, proxy="none", deadline_s=600)
        seconds.append(time.monotonic() - began)
        steps.append(dict(desktop.info.timings))
        desktop.delete()
    return seconds, steps


def measure_moments(client: Oriel, runs: int) -> dict[str, list[float]]:
    """Seconds of each verb as the caller sees them, on one running desktop after the other."""
    seconds: dict[str, list[float]] = {}

    def timed(verb: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        done = work()
        seconds.setdefault(verb, []).append(time.monotonic() - began)
        return done

    for _ in range(runs):
        desktop = client.desktops.create(f"bench-{secrets.token_hex(3)}", runtime="qemu", proxy="none")
        timed("pause", desktop.pause)
        timed("resume", desktop.resume)
        timed("snapshot", lambda: desktop.snapshot("before"))  # noqa: B023 - called at once
        timed("rewind", lambda: desktop.rewind("before"))  # noqa: B023
        fork = timed("fork", lambda: desktop.fork(f"bench-{secrets.token_hex(3)}"))  # noqa: B023
        for made in (fork, desktop):
            made.delete()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.instant", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument(
        "--runs", type=int, default=7, help="creates per runtime; the cold rival gets a third of them"
    )
    parser.add_argument("--runtime", action="append", choices=["container", "qemu"], default=None)
    parser.add_argument("--moments", action="store_true", help="also a template and what begins at moments")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with serving() as client:
        for runtime in [*(options.runtime or ["container"]), RIVAL]:
            if runtime in figures:
                continue
            runs = max(1, options.runs // 3) if runtime == RIVAL else options.runs
            seconds, steps = measure(client, runtime, runs)
            figures[runtime] = percentiles(seconds) | {"steps": steps}
        if options.moments:
            client.templates.build(runtime="qemu", on_progress=lambda text: print(text, file=sys.stderr))
            seconds, steps = measure(client, "qemu", options.runs)
            figures[TEMPLATE] = percentiles(seconds) | {"steps": steps}
            for verb, took in measure_moments(client, max(1, options.runs // 2)).items():
                figures[verb] = percentiles(took)
    rival = figures[RIVAL]["p50"]
    document = {
        "figure": "create to ready, seconds",
        "ours": figures,
        "rival": {"name": "cold boot in QEMU", **figures[RIVAL]},
        "ratio": {name: round(rival / figure["p50"], 2) for name, figure in figures.items()},
    }
    rows = [
        {"runtime": name, "runs": figure["n"], "p50 s": figure["p50"], "p95 s": figure["p95"],
         "× faster than a cold VM": round(rival / figure["p50"], 1)}
        for name, figure in figures.items()
    ]  # fmt: skip
    publish("create → ready", rows, document)


if __name__ == "__main__":
    main()
