"""Runs in a desktop as its live view's service, and says what none says: `flood` or `offer`."""

import asyncio
import json
import sys

from agent.media import session
from agent.media.service import inherited, serve

CURSOR = {"type": "cursor", "serial": 1, "x": 0, "y": 0, "width": 32, "height": 32}
SCRIPT = "<img src=x onerror='window.hacked=1'>"
NONSENSE = [
    "", "null", "[]", "{", "7", '"x"', "[" * 20_000, '{"type":7}', '{"type":"cursor"}',
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

_channel = session.Session._channel


def flood(self: session.Session, peer: object, label: str) -> None:
    if label == "desk":
        for message in NONSENSE:
            peer.say(label, message)  # type: ignore[attr-defined]
            peer.data(label, message.encode())  # type: ignore[attr-defined]
        for serial in range(CURSORS):
            peer.say(label, json.dumps({**CURSOR, "serial": serial, "png": "A" * 2000}))  # type: ignore[attr-defined]
        for number in range(PONGS):
            peer.say(label, json.dumps({"type": "pong", "id": number}))  # type: ignore[attr-defined]
    _channel(self, peer, label)


def offer(self: session.Session, _peer: object, _sdp: str) -> None:
    long = "v=0\r\n" + f"a=candidate:1 1 UDP 1 192.0.2.1 9 typ host {SCRIPT}\r\n" * 2000
    self._say({"type": "offer", "peer": "video", "fresh": True, "sdp": long})


if sys.argv[1] == "flood":
    session.Session._channel = flood  # type: ignore[method-assign]
else:
    session.Session._offer = offer  # type: ignore[method-assign]
asyncio.run(serve(inherited()))
