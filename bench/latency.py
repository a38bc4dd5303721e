"""From a key in the page to the changed pixel decoded in the page, at 1280x720.

    .venv/bin/python -m bench.latency [--keys 100] [--load idle] [--path webrtc] [--delay 40 --loss 1]

A marker on the desktop's screen flips a patch with each key. Beside our rungs, in the same run: x11vnc as it
is behind a WebSocket with noVNC, and TigerVNC's Xvnc; those run on this machine itself, without a desktop's
container and without our controller in between. `painted` is `webrtc` as the compositor gets it, `tcp` our
WebRTC over TCP. With `--delay` (round trip, ms) or `--loss` (per cent) the browser stands at the far end of a
line that is a program (bench/live/line.py), all paths alike.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import ExitStack
from typing import Any

from bench.live.line import HERE, line
from bench.live.place import LOADS, chromium, desktop, loaded, page_of, rival
from bench.report import percentiles, publish
from bench.server import serving

OURS, RIVALS = ("webrtc", "painted", "tcp", "novnc"), ("x11vnc", "xvnc")
LONGEST_MS = 10_000.0


def figures(page: Any, keys: int) -> dict[str, Any]:
    """Samples in milliseconds; what did not come within 10 s counts as that."""
    page.evaluate("measure(5)")
    samples = page.evaluate("count => measure(count)", keys)
    told = percentiles([LONGEST_MS if sample is None else sample for sample in samples], 1)
    return {"p50_ms": told["p50"], "p95_ms": told["p95"], "max_ms": told["max"], "samples": told["samples"]}


def ours(browser: Any, client: Any, made: Any, path: str, load: str, keys: int) -> dict[str, Any]:
    with loaded(made, load), page_of(browser, client.access.url) as page:
        where = {"desktop": made.info.name, "token": client.access.token.reveal()}
        if path == "novnc":
            page.evaluate("where => openNovnc(where)", where)
        else:
            where |= {"transport": "tcp" if path == "tcp" else "udp", "painted": path == "painted"}
            page.evaluate("where => openWebrtc(where)", where)
        return figures(page, keys)


def theirs(browser: Any, client: Any, path: str, host: str, load: str, keys: int) -> dict[str, Any]:
    with rival(path, host) as there, there.loaded(load), page_of(browser, client.access.url) as page:
        page.evaluate("where => openNovnc(where)", {"url": there.url})
        return figures(page, keys)


def compared(document: dict[str, Any]) -> dict[str, Any]:
    """How many times longer each rival takes than our best rung, p50 and p95, by load."""
    ratios: dict[str, Any] = {}
    for name in RIVALS:
        for load, told in document.get(name, {}).items():
            best = document.get("webrtc", {}).get(load)
            if best:
                ratios.setdefault(load, {})[name] = {
                    key: round(told[f"{key}_ms"] / best[f"{key}_ms"], 1) for key in ("p50", "p95")
                }
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.latency", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--load", action="append", choices=LOADS)
    parser.add_argument("--path", action="append", choices=(*OURS, *RIVALS))
    parser.add_argument("--delay", type=float, default=0, help="round trip in ms")
    parser.add_argument("--loss", type=float, default=0, help="per cent")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "figure": "key to decoded pixel, ms", "delay_ms": options.delay, "loss": options.loss,
    }  # fmt: skip
    far = options.delay > 0 or options.loss > 0
    rows = []
    paths = [
        path for path in options.path or (*OURS, *RIVALS)
        if path != "xvnc" or shutil.which("Xvnc")  # of tigervnc-standalone-server
    ]  # fmt: skip
    with ExitStack() as stack:
        program = stack.enter_context(line(options.delay, options.loss / 100)) if far else None
        host = HERE if far else "127.0.0.1"
        client = stack.enter_context(serving(host=host))
        browser = stack.enter_context(chromium(program, client.access.url if far else ""))
        made = stack.enter_context(desktop(client))
        for load in options.load or LOADS:
            for path in paths:
                if path in RIVALS:
                    told = theirs(browser, client, path, host, load, options.keys)
                else:
                    told = ours(browser, client, made, path, load, options.keys)
                document.setdefault(path, {})[load] = told
                shown = {key: told[key] for key in ("p50_ms", "p95_ms", "max_ms")}
                print(path, load, shown, file=sys.stderr)
                rows.append({"path": path, "load": load, **shown})
    document["ratio"] = compared(document)
    for told in document.values():
        if isinstance(told, dict) and "samples" in told.get("idle", ()):
            told |= {key: told["idle"][key] for key in ("p50_ms", "p95_ms")}
    publish("Key to decoded pixel", rows, document)


if __name__ == "__main__":
    main()
