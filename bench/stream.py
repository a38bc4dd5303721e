"""What the live view costs and carries at 1280x720: pictures a second, bits, CPU; idle and scrolling.

    .venv/bin/python -m bench.stream [--seconds 20] [--load idle] [--load scrolling]

The rival is our own noVNC rung, watched in the same way in the same run. CPU is that of the guest's own
services (`oriel-webrtc`, `x11vnc`), in per cent of one processor.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench.live.place import chromium, desktop, loaded, page_of
from bench.report import publish
from bench.server import serving

SERVICES = {"webrtc": "oriel-webrtc", "novnc": "x11vnc"}
BYTES = """async () => [...(await state.peer.getStats()).values()]
    .filter((one) => one.type === "transport").reduce((sum, one) => sum + one.bytesReceived, 0)"""
SETTLE_S = 3.0  # until the first picture has been refined


def cpu_s(made: Any, service: str) -> float:
    """CPU seconds of a service so far."""
    show = ["systemctl", "show", "--value", "--property=CPUUsageNSec", service]
    return int(made.exec(show).stdout.strip() or 0) / 1e9


def watch(page: Any, made: Any, path: str, seconds: float) -> dict[str, float]:
    time.sleep(SETTLE_S)
    service = SERVICES[path]
    before = cpu_s(made, service), page.evaluate("state.frames"), time.monotonic()
    received = page.evaluate(BYTES) if path == "webrtc" else 0
    time.sleep(seconds)
    passed = time.monotonic() - before[2]
    frames = page.evaluate("state.frames") - before[1]
    told = {"fps": frames / passed, "cpu_percent": 100 * (cpu_s(made, service) - before[0]) / passed}
    if path == "webrtc":
        told["kbps"] = (page.evaluate(BYTES) - received) * 8 / 1000 / passed
    return {name: round(value, 1) for name, value in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.stream", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--load", action="append", choices=("idle", "scrolling"))
    options = parser.parse_args()
    document: dict[str, Any] = {"figure": "live view at 1280x720"}
    rows = []
    with serving() as client, chromium() as browser:
        for path in SERVICES:
            document[path] = {}
            for load in options.load or ("idle", "scrolling"):
                with (
                    desktop(client) as made,
                    loaded(made, load),
                    page_of(browser, client.access.url) as page,
                ):
                    where = {"desktop": made.info.name, "token": client.access.token.reveal()}
                    page.evaluate(f"where => open{path.capitalize()}(where)", where)
                    told = watch(page, made, path, options.seconds)
                document[path][load] = told
                rows.append({"path": path, "load": load, "kbps": "", **told})
    publish("Live view", rows, document)


if __name__ == "__main__":
    main()
