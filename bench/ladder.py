"""What the view does when the network does what it does: a session that must not end, and the way it takes.

    .venv/bin/python -m bench.ladder [--case loss] [--case narrow] [--case udp] [--case tcp] [--case all]

The real page on a real desktop, over loopback that is narrowed (tbf), loses and blocks (nftables): run it
only where loopback is yours alone. `dark_s`: how long no live picture was shown; `moved_s`: until the lower
rung was; `back_s`: from the network's return until one was shown; `up_s`: until UDP was again; `typed`: if
lines typed then arrived, byte for byte, in the same session and with no key down.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.live.place import chromium, desktop
from bench.report import publish
from bench.server import serving

PATIENCE_S = 60.0
LOOK_MS = 25
# The port of the desktop's relay, as the page was told it. No range of ports: the page's own connections have
# some of any range, and one of those that is cut off looks like a view that does not come back.
PEERS = """(() => { const Real = RTCPeerConnection; window.peers = [];
  window.RTCPeerConnection = class extends Real {
    constructor(...all) { super(...all); window.peers.push(this); } }; })()"""
PORT = "Number(/candidate:\\d+ 1 UDP \\d+ \\S+ (\\d+)/i.exec(window.peers.at(-1).remoteDescription.sdp)[1])"
HELD = "import sys; from Xlib import display; print(sum(display.Display(':1').query_keymap()))"
# Kept in the page: when it was live and by which rung, as its own bar says.
WATCH = """() => { window.seen = []; setInterval(() => {
    const rung = document.querySelector(".latency-rung")?.textContent ?? "";
    const live = rung !== "" && !document.querySelector(".curtain");
    const last = window.seen.at(-1);
    if (last && last.live === live && (!live || last.rung === rung)) return;
    window.seen.push({ at: Date.now(), live, rung });
  }, 25); }"""


@contextlib.contextmanager
def narrow(kbit: int) -> Iterator[None]:
    """On loopback, for both directions together."""
    shaped = ["tbf", "rate", f"{kbit}kbit", "burst", "64kb", "latency", "400ms"]
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", *shaped], check=True)
    try:
        yield
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


@contextlib.contextmanager
def blocked(*rules: str) -> Iterator[None]:
    """Everything on loopback that `rules` (nftables) match is dropped."""
    lines = "\n".join(f"iifname lo {rule} drop" for rule in rules)
    table = f"table inet bench {{\nchain in {{\ntype filter hook input priority 0\n{lines}\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "bench"], check=True)


def media(view: View, *kinds: str) -> list[str]:
    port = view.page.evaluate(PORT)
    return [f"{kind} {way} {port}" for kind in kinds for way in ("dport", "sport")]


class View:
    """The page of one desktop, live."""

    def __init__(self, page: Any, made: Any) -> None:
        self.page, self.made = page, made
        self.sessions = 0

    def open(self, client: Any) -> None:
        self.page.on("websocket", self._opened)
        self.page.add_init_script(PEERS)
        token = client.access.token.reveal()
        self.page.goto(f"{client.access.url}/desktops/{self.made.info.name}#token={token}")
        self.page.evaluate(WATCH)
        self.until("UDP")
        self.page.mouse.click(250, 420)

    def _opened(self, socket: Any) -> None:
        self.sessions += socket.url.endswith("/webrtc")

    def now(self) -> float:
        return float(self.page.evaluate("Date.now()"))

    def until(self, *rungs: str, since: float = 0) -> float:
        """Seconds after `since` (the page's clock, ms) when it was live by one of `rungs` (none: any)."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            last = self.page.evaluate("window.seen.at(-1)")
            if last and last["live"] and (not rungs or last["rung"] in rungs):
                return max(0.0, (float(last["at"]) - since) / 1000)
            self.page.wait_for_timeout(LOOK_MS)
        raise TimeoutError(f"not {' or '.join(rungs) or 'live'} within {PATIENCE_S:.0f} s")

    def dark_s(self, since: float) -> float:
        """For how long no live picture was shown since then."""
        seen = self.page.evaluate("window.seen")
        ends = [*(entry["at"] for entry in seen[1:]), self.now()]
        spans: list[tuple[Any, float]] = [
            (entry, end) for entry, end in zip(seen, ends, strict=True) if not entry["live"]
        ]
        return sum((max(0.0, end - max(entry["at"], since)) / 1000 for entry, end in spans), 0.0)

    def typed(self) -> bool:
        """In the same session, with nothing down, a line arrives."""
        nonce = secrets.token_hex(6)
        self.page.keyboard.type(f"echo {nonce} > ~/{nonce}\n", delay=10)
        wait = f"for n in $(seq 100); do [ -s {nonce} ] && break; sleep 0.1; done"
        look = f'{wait}; cat {nonce}; python3 -c "{HELD}"'
        found = self.made.exec(["sh", "-c", f"cd; export DISPLAY=:1; {look}"]).stdout.split()
        if found != [nonce, "0"] or self.sessions != 1:
            print(f"typed {nonce}, found {found}, {self.sessions} sessions", file=sys.stderr)
            return False
        return True

    def rung(self) -> str:
        return str(self.page.evaluate("window.seen.at(-1).rung"))


def held_through(
    view: View, *rules: str, seconds: float = 5.0, rungs: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A key goes down, the network goes, the key comes up unheard; then the network is back."""
    view.page.keyboard.down("Shift")
    began = view.now()
    with blocked(*rules):
        view.page.keyboard.up("Shift")
        if rungs:
            moved = view.until(*rungs, since=began)
        else:
            view.page.wait_for_timeout(seconds * 1000)
            moved = None
        way = view.rung()
        typed_meanwhile = view.typed() if rungs else None
    back = view.now()
    back_s = view.until(since=back)
    told = {"way": way, "dark_s": view.dark_s(began), "moved_s": moved, "back_s": back_s}
    up_s = view.until("UDP", since=back)
    return {**told, "up_s": up_s, "typed": view.typed() and typed_meanwhile is not False}


def slowed(view: View, network: contextlib.AbstractContextManager[None]) -> dict[str, Any]:
    began = view.now()
    with network:
        typed = [view.typed() for _ in range(3)]
        view.page.wait_for_timeout(3000)
        told = {"way": view.rung(), "dark_s": view.dark_s(began)}
    back = view.now()
    return {**told, "moved_s": None, "back_s": view.until(since=back), "up_s": view.until("UDP", since=back),
            "typed": all(typed) and view.typed()}  # fmt: skip


CASES = {
    "loss": lambda view: slowed(view, blocked("numgen random mod 100 < 2")),
    "narrow": lambda view: slowed(view, narrow(1000)),
    "thin": lambda view: slowed(view, narrow(200)),
    "udp": lambda view: held_through(view, *media(view, "udp"), rungs=("TCP", "noVNC")),
    "tcp": lambda view: held_through(view, *media(view, "udp", "tcp"), rungs=("noVNC",)),
    "all": lambda view: held_through(view, "meta l4proto { tcp, udp }"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.ladder", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--case", action="append", choices=CASES)
    options = parser.parse_args()
    document: dict[str, Any] = {"figure": "the view through a bad network"}
    with serving() as client, chromium() as browser, desktop(client) as made:
        for case in options.case or CASES:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            view = View(page, made)
            view.open(client)
            document[case] = CASES[case](view)
            page.close()
    rows = [{"case": case, **told} for case, told in document.items() if isinstance(told, dict)]
    publish("The view through a bad network", rows, document)


if __name__ == "__main__":
    main()
