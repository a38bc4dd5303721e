"""What the live view costs and carries at 1280x720: pictures a second, bits, CPU; how sharp; how soon.

    .venv/bin/python -m bench.stream [--seconds 20] [--part first|idle|scrolling|sharp]

The rival is our own noVNC rung, watched in the same way in the same run. CPU is that of the guest's own
services (`oriel-agent`, `oriel-webrtc` and `x11vnc` together), in per cent of one processor. `first`: from
the moment that the real page is asked for until it shows a live picture, `novnc` in a browser that has no
WebRTC. `sharp`: a terminal scrolls and stops; how like the screen itself (SSIM of the terminal's brightness)
the last picture was that was decoded within 300 ms, and the last of all.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Any

from bench.live.place import SCROLL, chromium, desktop, loaded, page_of
from bench.report import percentiles, publish
from bench.server import serving

PATHS = ("webrtc", "novnc")
PARTS = ("first", "idle", "scrolling", "sharp")
SERVICES = ("oriel-agent", "oriel-webrtc", "x11vnc")
BYTES = """async () => [...(await state.peer.getStats()).values()]
    .filter((one) => one.type === "transport").reduce((sum, one) => sum + one.bytesReceived, 0)"""
SETTLE_S = 3.0  # until the first picture has been refined
SHARP_MS = 300
STOPPED = "/home/user/stopped"
AREA = [310, 110, 580, 500]  # within the terminal: left, top, width, height
STOPPING = f'timeout 3 sh -c "{SCROLL}"; date +%s%3N > {STOPPED}; sleep 60'
# In the real page, before it begins: when its picture was live.
WATCH = """{ const look = () => {
    if (document.querySelector(".backdrop.away")) window.liveAt ??= performance.now();
    else setTimeout(look, 5); }; document.addEventListener("DOMContentLoaded", look); }"""
OPENED_MS = 30_000


def cpu_s(made: Any) -> float:
    """CPU seconds of the guest's services so far."""
    show = ["systemctl", "show", "--value", "--property=CPUUsageNSec", *SERVICES]
    found = made.exec(show).stdout.split()
    return sum(int(value) for value in found if value.isdigit()) / 1e9


def watch(page: Any, made: Any, path: str, seconds: float) -> dict[str, float]:
    time.sleep(SETTLE_S)
    before = cpu_s(made), page.evaluate("state.frames"), time.monotonic()
    received = page.evaluate(BYTES) if path == "webrtc" else 0
    time.sleep(seconds)
    passed = time.monotonic() - before[2]
    frames = page.evaluate("state.frames") - before[1]
    told = {"fps": frames / passed, "cpu_percent": 100 * (cpu_s(made) - before[0]) / passed}
    if path == "webrtc":
        told["kbps"] = (page.evaluate(BYTES) - received) * 8 / 1000 / passed
    return {name: round(value, 1) for name, value in told.items()}


def first(browser: Any, client: Any, made: Any, path: str, times: int) -> dict[str, Any]:
    """Milliseconds; each in a context of its own, with nothing kept."""
    samples = []
    for _ in range(times):
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        if path == "novnc":
            page.add_init_script("delete window.RTCPeerConnection")
        page.add_init_script(WATCH)
        page.goto(f"{client.access.url}/desktops/{made.info.name}#token={client.access.token.reveal()}")
        page.wait_for_selector(".backdrop.away", state="attached", timeout=OPENED_MS)
        samples.append(page.evaluate("window.liveAt"))
        page.close()
    told = percentiles(samples, 0)
    return {"first_p50_ms": told["p50"], "first_p95_ms": told["p95"], "samples": told["samples"]}


def sharp(page: Any, made: Any, where: dict[str, Any]) -> dict[str, Any]:
    made.exec(["rm", "-f", STOPPED])
    page.evaluate("state.kept = []")
    run = ["systemd-run", "--quiet", "--collect", "--unit=bench-sharp", "--uid=user", "--setenv=DISPLAY=:1"]
    made.exec(["sudo", *run, "xterm", "-geometry", "100x40+300+100", "-e", "sh", "-c", STOPPING])
    wait = f"for n in $(seq 300); do [ -s {STOPPED} ] && break; sleep 0.1; done; cat {STOPPED}"
    stopped = int(made.exec(["sh", "-c", wait]).stdout)
    time.sleep(SETTLE_S)
    seen = page.evaluate("where => sharpness(where)", {**where, "since": stopped, "area": AREA})
    made.exec(["sudo", "systemctl", "stop", "bench-sharp"])
    soon = [value for after, value in seen if after <= SHARP_MS]
    return {"ssim_300_ms": round(soon[-1], 4) if soon else None, "ssim_last": round(seen[-1][1], 4),
            "samples": [[after, round(value, 4)] for after, value in seen]}  # fmt: skip


def measured(browser: Any, client: Any, made: Any, path: str, part: str, seconds: float) -> dict[str, Any]:
    if part == "first":
        return first(browser, client, made, path, max(3, round(seconds)))
    where = {"desktop": made.info.name, "token": client.access.token.reveal()}
    with ExitStack() as stack:
        if part != "sharp":
            stack.enter_context(loaded(made, part))
        page = stack.enter_context(page_of(browser, client.access.url))
        page.evaluate(f"where => open{path.capitalize()}(where)", where)
        return sharp(page, made, where) if part == "sharp" else watch(page, made, path, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.stream", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--seconds", type=float, default=20, help="also how often the page is opened")
    parser.add_argument("--runtime", default="container")
    parser.add_argument("--part", action="append", choices=PARTS)
    options = parser.parse_args()
    document: dict[str, Any] = {"figure": "live view at 1280x720", "runtime": options.runtime}
    rows = []
    with serving() as client, chromium() as browser, desktop(client, options.runtime) as made:
        for part in options.part or PARTS:
            for path in PATHS[:1] if part == "sharp" else PATHS:
                told = measured(browser, client, made, path, part, options.seconds)
                document.setdefault(path, {})[part] = told
                shown = " ".join(f"{name} {value}" for name, value in told.items() if name != "samples")
                rows.append({"path": path, "part": part, "figures": shown})
    publish("Live view", rows, document)


if __name__ == "__main__":
    main()
