"""From `create` to ready (both windows painted, by pixels), per runtime; and a machine's moments.

    .venv/bin/python -m bench.instant [--json] [--runs 7] [--runtime container] [--moments] [--pool]
                                      [--at-once 10] [--cold-runs 2] [--settle 150]

The rival is a cold boot of the same golden image in QEMU, measured in the same run: of a kind of desktop for
which there is no template. Every desktop is deleted before the next is made. `--moments`: what begins at a
template, which is built first if there is none, and pause, resume, snapshot, rewind and fork of a running
desktop. `--pool`: creates that find one made ahead, each after the pool was full again. `--at-once N`: N
creates at the same time, from the template. `--settle`: for how long a template is left alone before it is
kept, with less than the default the run is shorter and what begins there has more to do.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench.report import percentiles, publish
from bench.server import serving
from bench.template import RIVAL_DISK_GIB, need_template
from oriel.client import AsyncOriel, Oriel
from oriel.client.sync.desktop import Desktop
from oriel.client.verify.chrome import Chrome

T = TypeVar("T")
RIVAL, TEMPLATE = "qemu, cold boot", "qemu from a template"
CLOCK_QUESTIONS = 40
POOL_S = 300.0  # for the pool to fill, on a busy host


@dataclass
class Creates:
    """`seconds`: until ready, as the caller sees them. `steps`: the desktop's own timings. `processor`: what
    its processes had used of the host by then, in seconds, which hardly depends on what else runs."""

    seconds: list[float] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def figure(self) -> dict[str, Any]:
        return percentiles(self.seconds) | {
            "steps": self.steps, "processor_s": percentiles(self.processor, 2)
        }  # fmt: skip


def measure(client: Oriel, runtime: str, runs: int, creates: Creates, *, disk_gib: int | None = None) -> None:
    """One after the other; each is deleted before the next."""
    for _ in range(runs):
        began = time.monotonic()
        name = f"bench-{secrets.token_hex(3)}"
        desktop = client.desktops.create(
            name, runtime=runtime, proxy="none", disk_gib=disk_gib, deadline_s=600
        )
        creates.seconds.append(time.monotonic() - began)
        creates.processor.append(desktop.usage()["cpu_s"])
        creates.steps.append(dict(desktop.info.timings))
        desktop.delete()


def measure_moments(client: Oriel, runs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each verb as the caller sees them, on one running desktop after the other; and by how many
    ms the desktop's clock was off, after each of those that it could be wrong after."""
    seconds: dict[str, list[float]] = {}
    clock: dict[str, list[float]] = {}

    def timed(verb: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        done = work()
        seconds.setdefault(verb, []).append(time.monotonic() - began)
        return done

    def look_at_the_clock(after: str, of: Desktop) -> None:
        clock.setdefault(after, []).append(asyncio.run(clock_off_ms(client, of)))

    for _ in range(runs):
        desktop = client.desktops.create(f"bench-{secrets.token_hex(3)}", runtime="qemu", proxy="none")
        look_at_the_clock("create", desktop)
        timed("pause", desktop.pause)
        timed("resume", desktop.resume)
        look_at_the_clock("resume", desktop)
        timed("snapshot", lambda: desktop.snapshot("before"))  # noqa: B023 - called at once
        look_at_the_clock("snapshot", desktop)
        timed("rewind", lambda: desktop.rewind("before"))  # noqa: B023
        look_at_the_clock("rewind", desktop)
        fork = timed("fork", lambda: desktop.fork(f"bench-{secrets.token_hex(3)}"))  # noqa: B023
        look_at_the_clock("fork", fork)
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


def measure_pool(client: Oriel, runtime: str, runs: int) -> Creates:
    """As `measure`, each once one of that kind waits; the first create only says which kind is wanted."""
    measure(client, runtime, 1, Creates())
    creates = Creates()
    for _ in range(runs):
        deadline = time.monotonic() + POOL_S
        while not any(kind["ready"] for kind in client.pool.list() if kind["runtime"] == runtime):
            if time.monotonic() > deadline:
                raise SystemExit(f"the pool does not fill: {client.pool.list()}")
            time.sleep(0.2)
        measure(client, runtime, 1, creates)
    return creates


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


def run(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Every figure that was asked for, and how far clocks were off."""
    figures: dict[str, Any] = {}
    clock: dict[str, list[float]] = {}
    settle = {"template_settle_s": str(options.settle)}
    with serving(**settle) as client:
        for runtime in options.runtime or ["container"]:
            creates = Creates()
            measure(client, runtime, options.runs, creates)
            figures[runtime] = creates.figure()
        creates = Creates()
        cold_runs = options.cold_runs or max(1, options.runs // 3)
        measure(client, "qemu", cold_runs, creates, disk_gib=RIVAL_DISK_GIB)
        figures[RIVAL] = creates.figure()
        if options.moments or options.at_once:
            need_template(client, "qemu")
        if options.moments:
            creates = Creates()
            measure(client, "qemu", options.runs, creates)
            figures[TEMPLATE] = creates.figure()
            verbs, clock = measure_moments(client, max(1, options.runs // 2))
            figures |= {verb: percentiles(took) for verb, took in verbs.items()}
        if options.at_once:
            seconds = measure_at_once(client, "qemu", options.at_once)
            figures[f"{options.at_once} at once"] = percentiles(seconds)
    if options.pool:
        with serving(pool_size="1", **settle) as client:
            need_template(client, "qemu")
            for runtime in ("container", "qemu"):
                figures[f"{runtime} from the pool"] = measure_pool(client, runtime, options.runs).figure()
    return figures, clock


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.instant", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument(
        "--runs", type=int, default=7, help="creates per runtime; the cold rival gets a third of them"
    )
    parser.add_argument("--runtime", action="append", choices=["container", "firecracker"], default=None)
    parser.add_argument("--moments", action="store_true", help="also a template and what begins at moments")
    parser.add_argument("--pool", action="store_true", help="also creates that find one made ahead")
    parser.add_argument("--at-once", type=int, default=0, metavar="N", help="also N creates together")
    parser.add_argument("--cold-runs", type=int, default=None, help="cold boots instead of a third of --runs")
    parser.add_argument("--settle", type=float, default=150, help="seconds a template is left alone first")
    figures, clock = run(parser.parse_args())
    rival = figures[RIVAL]
    document = {
        "figure": "create to ready, seconds",
        "ours": figures,
        "rival": {"name": "cold boot in QEMU", **rival},
        "clock_off_ms": {after: percentiles(off, 1) for after, off in clock.items()},
        "ratio": {name: round(rival["p50"] / figure["p50"], 2) for name, figure in figures.items()},
    }
    rows = [
        {"what": name, "runs": figure["n"], "p50 s": figure["p50"], "p95 s": figure["p95"],
         "processor s": figure.get("processor_s", {}).get("p50", ""),
         "× faster than a cold VM": round(rival["p50"] / figure["p50"], 1)}
        for name, figure in figures.items()
    ]  # fmt: skip
    publish("create → ready", rows, document)
    for after, off in clock.items():
        _say(f"after {after} the clock was off by {max(off):.1f} ms at most")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
