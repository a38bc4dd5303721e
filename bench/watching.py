"""Half an hour at the view, on both rungs in turn: nothing ends, nothing restarts, nothing grows.

    .venv/bin/python -m bench.watching [--minutes 30] [--turn 60] [--runtime container]

The real page on a real desktop whose terminal prints without end. Each turn (s) the page is told to use the
other rung, and a line that is typed must arrive. In between the memory of everything that takes part is taken
(PSS, MiB; of the page its heap after a collection). `grown` compares the median of the last third with that
of the second: the first is spent warming up. There is no rival: the figure is what is lost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.ladder import View
from bench.live.place import chromium, desktop
from bench.report import publish
from bench.server import serving_home

RUNGS = {"vnc": "noVNC", "auto": "UDP"}
UNITS = ("xvfb", "x11vnc", "desktop", "oriel-agent", "oriel-webrtc")
INSIDE = {"agent": "-m agent", "webrtc": "-m agent.media", "x11vnc": "/usr/bin/x11vnc", "xvfb": "Xvfb :1"}
HOST = {"controller": "oriel.controller", "keeper": "oriel.keeper", "gateway": "oriel.egress"}
PRINTING = "while :; do date; sleep 0.2; done"
MOVES = 20


def processes() -> Iterator[tuple[Path, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            yield (
                place,
                (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip(),
            )
        except OSError:
            continue


def pss_mib(place: Path) -> float:
    try:
        lines = (place / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def memory(page: Any, runtime: str) -> dict[str, float]:
    """Of a container's services too: they are processes of this host."""
    wanted = {**HOST, **(INSIDE if runtime == "container" else {})}
    found = dict.fromkeys(wanted, 0.0)
    for place, command in processes():
        for name, part in wanted.items():
            if f"{command} ".find(f"{part} ") >= 0:
                found[name] += pss_mib(place)
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    found["page"] = session.send("Runtime.getHeapUsage")["usedSize"] / (1 << 20)
    session.detach()
    return {name: round(value, 2) for name, value in found.items()}


def pin(page: Any, way: str) -> None:
    page.keyboard.press("Control+Alt+Shift+D")
    page.get_by_label("Use", exact=True).select_option(way)
    page.keyboard.press("Control+Alt+Shift+D")


def restarts(made: Any) -> int:
    show = ["systemctl", "show", "--value", "--property=NRestarts", *UNITS]
    return sum(int(value) for value in made.exec(show).stdout.split() if value.isdigit())


def grown(samples: list[float]) -> float:
    third = max(1, len(samples) // 3)
    before, after = samples[third : 2 * third] or samples, samples[-third:]
    return round(statistics.median(after) - statistics.median(before), 2)


def watched(view: View, made: Any, minutes: float, turn_s: float, runtime: str) -> dict[str, Any]:
    taken: list[dict[str, float]] = []
    lost = turns = 0
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        way = "vnc" if turns % 2 == 0 else "auto"
        pin(view.page, way)
        view.until(RUNGS[way])
        view.page.mouse.click(250, 420)
        lost += not view.typed()
        for step in range(MOVES):
            view.page.mouse.move(200 + 5 * step, 300)
            view.page.wait_for_timeout(turn_s * 1000 / MOVES)
        taken.append(memory(view.page, runtime))
        turns += 1
        print(f"turn {turns}, {RUNGS[way]}: {taken[-1]}", file=sys.stderr)
    return {
        "turns": turns, "lines_lost": lost, "sessions": view.sessions, "restarts": restarts(made),
        "memory_mib": {
            name: {"first": taken[0][name], "last": taken[-1][name], "most": max(one[name] for one in taken),
                   "grown": grown([one[name] for one in taken])} for name in taken[0]
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.watching", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--turn", type=float, default=60, help="seconds on each rung")
    parser.add_argument("--runtime", default="container")
    options = parser.parse_args()
    document: dict[str, Any] = {"figure": "the view, watched", "minutes": options.minutes}
    with serving_home() as (client, _), chromium() as browser, desktop(client, options.runtime) as made:
        view = View(browser.new_page(viewport={"width": 1280, "height": 720}), made)
        view.open(client)
        run = ["sudo", "systemd-run", "--quiet", "--collect", "--unit=bench-print", "--uid=user"]
        made.exec(
            [*run, "--setenv=DISPLAY=:1", "xterm", "-geometry", "60x20+640+300", "-e", "sh", "-c", PRINTING]
        )
        document |= watched(view, made, options.minutes, options.turn, options.runtime)
        view.page.close()
    rows = [{"what": name, **told} for name, told in document["memory_mib"].items()]
    publish(
        f"{document['turns']} turns, {document['lines_lost']} lines lost, {document['sessions']} session, "
        f"{document['restarts']} restarts; MiB", rows, document,
    )  # fmt: skip


if __name__ == "__main__":
    main()
