"""Runs in a desktop as its live view's service, and says what none says: `flood` or `offer`."""

import asyncio
import json
import sys

from gi.repository import GLib

from agent.media import session
from agent.media.peer import Peer
from agent.media.service import inherited, serve

CURSOR = {"type": "cursor", "serial": 1, "x": 0, "y": 0, "width": 32, "height": 32}
SCRIPT = "<img src=x onerror='window.hacked=1'>"
NONSENSE = [
    "null", "[]", "{", "7", '"x"', "[" * 20_000, '{"type":7}', '{"type":"cursor"}',
    *(json.dumps(message) for message in (
        {**CURSOR, "x": -1, "y": 1e300, "width": 100_000, "height": 100_000, "png": "AAAA"},
        {**CURSOR, "png": "AAAA'); background: url(http://192.0.2.1/leak)"},
        {**CURSOR, "png": "A" * 60_000},
        {**CURSOR, "serial": SCRIPT, "png": ["AAAA"]},
        {"type": "screen", "width": SCRIPT, "height": None},
        {"type": "screen", "width": 1e300, "height": -5},
        {"type": "stats", "codec": SCRIPT, "fps": SCRIPT},
        {"type": "echo", "id": 1, "rtp": SCRIPT, "guest_ms": -1e300},
        {"type": "pong", "id": "__proto__", "took": SCRIPT},
        {"type": "__proto__", "constructor": {"prototype": 1}},
    )),
]  # fmt: skip
CURSORS, PONGS = 1500, 5000
MOST_WAITING = 1 << 15  # more, and it is the desktop that gives up

_channel = session.Session._channel


def flood(self: session.Session, peer: Peer, label: str) -> None:
    _channel(self, peer, label)
    if label == "desk":
        self.pouring = asyncio.create_task(pour(self, peer))  # type: ignore[attr-defined]


async def pour(self: session.Session, peer: Peer) -> None:
    """As fast as the viewer takes it, for as long as it does."""
    messages = [*NONSENSE, *(json.dumps({**CURSOR, "serial": n, "png": "A" * 2000}) for n in range(CURSORS))]
    messages += [json.dumps({"type": "pong", "id": number}) for number in range(PONGS)]
    for message in messages:
        while peer.waiting("desk") > MOST_WAITING:
            await asyncio.sleep(0.002)
        if self._video is not peer:
            return
        peer.say("desk", message)
        if message in NONSENSE:
            # Bytes, which the product never sends.
            peer._channels["desk"].emit("send-data", GLib.Bytes.new(b"\0" + message.encode()))


def offer(self: session.Session, _peer: Peer, _sdp: str) -> None:
    long = "v=0\r\n" + f"a=candidate:1 1 UDP 1 192.0.2.1 9 typ host {SCRIPT}\r\n" * 2000
    self._say({"type": "offer", "peer": "video", "fresh": True, "sdp": long})


if sys.argv[1] == "flood":
    session.Session._channel = flood  # type: ignore[method-assign]
else:
    session.Session._offer = offer  # type: ignore[method-assign]
asyncio.run(serve(inherited()))
