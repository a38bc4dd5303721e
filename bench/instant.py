"""From `create` to ready (both windows painted, by pixels), per runtime; and a machine's moments.

    .venv/bin/python -m bench.instant [--json] [--runs 7] [--runtime container] [--runtime qemu] [--moments]
                                      [--pool] [--at-once 10] [--cold-runs 2]

The rival is a cold boot of the same golden image in QEMU, measured in the same run. Every desktop is
deleted before the next is made. `--moments`: then builds a template, and times what begins there, pause,
resume, snapshot, rewind and fork of a running desktop. `--pool`: then creates that find one made ahead, each
after the pool was full again. `--at-once N`: N creates at the same time, from the template.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from bench.report import percentiles, publish
from bench.server import serving
from oriel.client import AsyncOriel, Oriel
from oriel.client.sync.desktop import Desktop
from oriel.client.verify.chrome import Chrome

T = TypeVar("T")
RIVAL, TEMPLATE = "qemu", "qemu from a template"
CLOCK_QUESTIONS = 40
POOL_S = 300.0  # for the pool to fill, on a busy host


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


def measure_moments(client: Oriel, runs: int) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each verb as the caller sees them, on one running desktop after the other; and by how many
    ms the desktop's clock was off, after a create and after a resume."""
    seconds: dict[str, list[float]] = {}
    clock: list[float] = []

    def timed(verb: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        done = work()
        seconds.setdefault(verb, []).append(time.monotonic() - began)
        return done

    for _ in range(runs):
        desktop = client.desktops.create(f"bench-{secrets.token_hex(3)}", runtime="qemu", proxy="none")
        clock.append(asyncio.run(clock_off_ms(client, desktop)))
        timed("pause", desktop.pause)
        timed("resume", desktop.resume)
        clock.append(asyncio.run(clock_off_ms(client, desktop)))
        timed("snapshot", lambda: desktop.snapshot("before"))  # noqa: B023 - called at once
        timed("rewind", lambda: desktop.rewind("before"))  # noqa: B023
        fork = timed("fork", lambda: desktop.fork(f"bench-{secrets.token_hex(3)}"))  # noqa: B023
        for made in (fork, desktop):
            made.delete()
    return seconds, clock


async def clock_off_ms(client: Oriel, desktop: Desktop) -> float:
    """How far a desktop's clock is from ours, as a page in it tells: of many questions the one that was
    answered soonest is off by half of that time at most."""
    async with (
        AsyncOriel(client.access.url, client.access.token) as oriel,
        await (await oriel.desktop(desktop.info.id)).cdp() as socket,
    ):
        chrome = Chrome(socket)
        session = (await chrome.attach_pages())[0]
        best = (float("inf"), 0.0)
        for _ in range(CLOCK_QUESTIONS):
            asked = time.time()
            said = await chrome.call("Runtime.evaluate", {"expression": "Date.now()"}, session=session)
            answered = time.time()
            off = said["result"]["value"] - (asked + answered) / 2 * 1000
            best = min(best, (answered - asked, off), key=lambda one: one[0])
    return abs(best[1])


def measure_pool(client: Oriel, runtime: str, runs: int) -> tuple[list[float], list[dict[str, float]]]:
    """As `measure`, each once one of that kind waits; the first create only says which kind is wanted."""
    measure(client, runtime, 1)
    seconds, steps = [], []
    for _ in range(runs):
        deadline = time.monotonic() + POOL_S
        while not any(kind["ready"] for kind in client.pool.list() if kind["runtime"] == runtime):
            if time.monotonic() > deadline:
                raise SystemExit(f"the pool does not fill: {client.pool.list()}")
            time.sleep(0.2)
        one, its_steps = measure(client, runtime, 1)
        seconds += one
        steps += its_steps
    return seconds, steps


def measure_at_once(client: Oriel, runtime: str, count: int) -> list[float]:
    """Seconds until each of `count` desktops is ready that are asked for together."""

    def one(_: int) -> tuple[float, Any]:
        began = time.monotonic()
        name = f"bench-{secrets.token_hex(3)}"
        desktop = client.desktops.create(name, runtime=runtime, proxy="none", deadline_s=600)
        return time.monotonic() - began, desktop

    with ThreadPoolExecutor(count) as callers:
        made = list(callers.map(one, range(count)))
    for _, desktop in made:
        desktop.delete()
    return [seconds for seconds, _ in made]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.instant", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument(
        "--runs", type=int, default=7, help="creates per runtime; the cold rival gets a third of them"
    )
    parser.add_argument("--runtime", action="append", choices=["container", "qemu"], default=None)
    parser.add_argument("--moments", action="store_true", help="also a template and what begins at moments")
    parser.add_argument("--pool", action="store_true", help="also creates that find one made ahead")
    parser.add_argument("--at-once", type=int, default=0, metavar="N", help="also N creates together")
    parser.add_argument("--cold-runs", type=int, default=None, help="cold boots instead of a third of --runs")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    clock: list[float] = []
    with serving() as client:
        for template in client.templates.list():
            client.templates.delete(template["id"])  # or the rival would begin there
        for runtime in [*(options.runtime or ["container"]), RIVAL]:
            if runtime in figures:
                continue
            cold = options.cold_runs or max(1, options.runs // 3)
            runs = cold if runtime == RIVAL else options.runs
            seconds, steps = measure(client, runtime, runs)
            figures[runtime] = percentiles(seconds) | {"steps": steps}
        if options.moments or options.pool or options.at_once:
            client.templates.build(runtime="qemu", on_progress=lambda text: print(text, file=sys.stderr))
        if options.moments:
            seconds, steps = measure(client, "qemu", options.runs)
            figures[TEMPLATE] = percentiles(seconds) | {"steps": steps}
            verbs, clock = measure_moments(client, max(1, options.runs // 2))
            figures |= {verb: percentiles(took) for verb, took in verbs.items()}
            print(f"the clock was off by at most {max(clock):.1f} ms", file=sys.stderr)
        if options.at_once:
            figures[f"{options.at_once} at once"] = percentiles(
                measure_at_once(client, "qemu", options.at_once)
            )
    if options.pool:
        with serving(pool_size="1") as client:
            for runtime in ("container", "qemu"):
                seconds, steps = measure_pool(client, runtime, options.runs)
                figures[f"{runtime} from the pool"] = percentiles(seconds) | {"steps": steps}
    rival = figures[RIVAL]["p50"]
    document = {
        "figure": "create to ready, seconds",
        "ours": figures,
        "rival": {"name": "cold boot in QEMU", **figures[RIVAL]},
        "clock_off_ms": percentiles(clock, 1) if clock else None,
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
