"""From a key in the page to the changed pixel decoded in the page, at 1280x720.

    .venv/bin/python -m bench.latency [--keys 100] [--load idle] [--path webrtc] [--delay 40 --loss 1]

A marker on the desktop's screen flips a patch with each key. Beside our rungs, in the same run: x11vnc as it
is behind a WebSocket with noVNC, and TigerVNC's Xvnc. `painted` is `webrtc` as the compositor gets it.
`--delay` (round trip, ms) and `--loss` (per cent) are put on loopback by netem, so use them only where that
is yours alone.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from bench.live.place import LOADS, chromium, desktop, loaded, page_of, rival
from bench.report import percentiles, publish
from bench.server import serving

PATHS = ("webrtc", "painted", "tcp", "novnc", "x11vnc", "xvnc")


@contextlib.contextmanager
def netem(delay_ms: float, loss: float) -> Iterator[None]:
    """Half of the round trip each way, since every packet of loopback passes once."""
    if not delay_ms and not loss:
        yield
        return
    netem_ = ["netem", "limit", "10000", "delay", f"{delay_ms / 2}ms", "loss", f"{loss}%"]
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", *netem_], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


def figures(page: Any, keys: int) -> dict[str, Any]:
    """Samples in milliseconds; what did not come within 10 s counts as that."""
    page.evaluate("measure(10)")
    samples = page.evaluate("count => measure(count)", keys)
    told = percentiles([10_000.0 if sample is None else sample for sample in samples], 1)
    return {"p50_ms": told["p50"], "p95_ms": told["p95"], "max_ms": told["max"], "samples": told["samples"]}


def ours(browser: Any, client: Any, path: str, load: str, keys: int) -> dict[str, Any]:
    with desktop(client) as made, loaded(made, load), page_of(browser, client.access.url) as page:
        where = {"desktop": made.info.name, "token": client.access.token.reveal()}
        if path == "novnc":
            page.evaluate("where => openNovnc(where)", where)
        else:
            where |= {"transport": "tcp" if path == "tcp" else "udp", "painted": path == "painted"}
            page.evaluate("where => openWebrtc(where)", where)
        return figures(page, keys)


def theirs(browser: Any, client: Any, path: str, load: str, keys: int) -> dict[str, Any]:
    with rival(path) as there, there.loaded(load), page_of(browser, client.access.url) as page:
        page.evaluate("where => openNovnc(where)", {"url": there.url})
        return figures(page, keys)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.latency", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--load", action="append", choices=LOADS)
    parser.add_argument("--path", action="append", choices=PATHS)
    parser.add_argument("--delay", type=float, default=0, help="round trip in ms")
    parser.add_argument("--loss", type=float, default=0, help="per cent")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "figure": "key to decoded pixel, ms",
        "delay_ms": options.delay,
        "loss": options.loss,
    }
    rows = []
    with serving() as client, chromium() as browser:
        for path in options.path or PATHS:
            if path == "xvnc" and not shutil.which("Xvnc"):
                continue  # tigervnc-standalone-server is not installed
            document[path] = {}
            for load in options.load or LOADS:
                run = theirs if path in ("x11vnc", "xvnc") else ours
                with netem(options.delay, options.loss):
                    told = run(browser, client, path, load, options.keys)
                document[path][load] = told
                rows.append(
                    {"path": path, "load": load, **{key: told[key] for key in ("p50_ms", "p95_ms", "max_ms")}}
                )
    for told in document.values():
        if isinstance(told, dict) and "idle" in told:
            told |= {key: told["idle"][key] for key in ("p50_ms", "p95_ms")}
    publish("Key to decoded pixel", rows, document)


if __name__ == "__main__":
    main()
