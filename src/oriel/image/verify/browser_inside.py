"""Runs inside a desktop, by its own Python: what its browser says of itself, and shows. Nothing but stdlib.

    policies    chrome://policy against the policy files: exit status 1 and what differs, if anything does
    glyphs      a page with letters of many scripts, as a screenshot: none may look like a missing one

DevTools: https://chromedevtools.github.io/devtools-protocol/. WebSocket: RFC 6455; PNG: RFC 2083.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import sys
import urllib.request
import zlib
from pathlib import Path
from typing import Any

PORT = 9222
DEADLINE_S = 120.0
POLICIES = ("/etc/chromium/policies/managed", "/etc/opt/chrome/policies/managed")
READ_POLICIES = """(async () => {
  const cr = await import('chrome://resources/js/cr.js');
  return await cr.sendWithPromise('getPoliciesJson', 0);
})()"""
CELL = 24
SCRIPTS = {
    "latin": "AgÀéßŁőñ",
    "cyrillic and greek": "ЖщЯюΩλπξ",
    "cjk": "漢字語かなカタ한국어",
    "emoji": "😀🚀🌈🎉🐧👍",
}
UNASSIGNED = "\u0378\u0379\u0380"  # no font has these: they look as what is missing looks here
PAGE = """(() => {
  document.body.innerHTML = '';
  document.body.style.background = 'white';
  const rows = %s;
  rows.forEach((row, y) => [...row].forEach((letter, x) => {
    const cell = document.createElement('div');
    cell.textContent = letter;
    cell.style.cssText = `position:fixed;left:${x * %d}px;top:${y * %d}px;width:%dpx;height:%dpx;` +
      'overflow:hidden;font:16px sans-serif;line-height:22px;text-align:center;color:black';
    document.body.append(cell);
  }));
  return document.fonts.ready.then(() => new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(true)))));
})()"""


class Tab:
    """A page of the running browser, opened for us and loaded, and its DevTools connection."""

    def __init__(self, address: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}/json/new?about:blank", method="PUT")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=DEADLINE_S) as answer:
            self._target = json.load(answer)
        self._direct = direct
        self._socket = socket.create_connection(("127.0.0.1", PORT), timeout=DEADLINE_S)
        self._stream = self._socket.makefile("rb")
        path = self._target["webSocketDebuggerUrl"].partition(f":{PORT}")[2]
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        if b" 101 " not in self._stream.readline():
            raise SystemExit("Chrome refused a DevTools connection")
        while self._stream.readline().strip():
            pass
        self._last_id = 0
        self._events: list[dict[str, Any]] = []
        self._load(address)

    def _load(self, address: str) -> None:
        """What is evaluated before a page is loaded may be lost with the page before it."""
        self.call("Page.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        loader = self.call("Page.navigate", url=address)["loaderId"]
        loaded = {"name": "load", "loaderId": loader}
        while not any(loaded.items() <= event.get("params", {}).items() for event in self._events):
            self._events.append(json.loads(self._receive()))

    def close(self) -> None:
        self._socket.close()
        address = f"http://127.0.0.1:{PORT}/json/close/{self._target['id']}"
        self._direct.open(address, timeout=DEADLINE_S).close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        self._send(json.dumps({"id": self._last_id, "method": method, "params": params}).encode())
        while (answer := json.loads(self._receive())).get("id") != self._last_id:
            self._events.append(answer)
        if "error" in answer:
            raise SystemExit(f"Chrome refused {method}: {answer['error']}")
        return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise SystemExit(f"the page failed: {found['exceptionDetails']}")
        return found["result"].get("value")

    def _send(self, text: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
        self._socket.sendall(struct.pack(">BBH", 0x81, 0x80 | 126, len(text)) + mask + masked)

    def _receive(self) -> bytes:
        message = b""
        while True:
            first, length = self._read(2)
            if length == 126:
                (length,) = struct.unpack(">H", self._read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._read(8))
            message += self._read(length)
            if first & 0x80:
                return message

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise SystemExit("Chrome closed its DevTools connection")
        return data


def policies() -> int:
    wanted: dict[str, Any] = {}
    for directory in {Path(place).resolve() for place in POLICIES if Path(place).is_dir()}:
        for file in sorted(directory.glob("*.json")):
            wanted |= json.loads(file.read_text())
    tab = Tab("chrome://policy")
    try:
        told = json.loads(tab.evaluate(READ_POLICIES))
    finally:
        tab.close()
    found = told["policyGroups"]["chrome"]["policies"]
    wrong = [
        f"{name}: {found.get(name, 'is not there')}"
        for name, value in wanted.items()
        if name not in found or found[name].get("value") != value or found[name].get("error")
    ]
    print("\n".join(wrong) or f"{len(wanted)} policies are in force as written")
    return 1 if wrong or not wanted else 0


def glyphs() -> int:
    rows = [UNASSIGNED, *SCRIPTS.values()]
    tab = Tab("about:blank")
    try:
        tab.evaluate(PAGE % (json.dumps(rows), CELL, CELL, CELL, CELL))
        clip = {"x": 0, "y": 0, "width": CELL * max(map(len, rows)), "height": CELL * len(rows), "scale": 1}
        shot = tab.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    finally:
        tab.close()
    picture = read_png(base64.b64decode(shot["data"]))
    missing = {cell(picture, x, 0) for x in range(len(UNASSIGNED))} | {white_cell()}
    wrong = []
    for y, (script, letters) in enumerate(SCRIPTS.items(), 1):
        shapes = [cell(picture, x, y) for x in range(len(letters))]
        lost = [letter for letter, shape in zip(letters, shapes, strict=True) if shape in missing]
        if len(set(shapes)) < len(shapes):
            lost.append("letters that look alike")
        if script == "emoji":
            pairs = zip(letters, shapes, strict=True)
            lost += [f"{letter} without colour" for letter, shape in pairs if not coloured(shape)]
        if lost:
            wrong.append(f"{script}: {' '.join(lost)}")
    print("\n".join(wrong) or f"{', '.join(SCRIPTS)}: every letter has its own shape")
    return 1 if wrong else 0


def read_png(data: bytes) -> list[list[tuple[int, int, int]]]:
    """Rows of pixels of a PNG with eight bits a channel, as Chrome writes them."""
    position, packed, width, channels = 8, b"", 0, 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            width, colour = struct.unpack_from(">I", content)[0], content[9]
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += content
        position += 12 + length
    raw, stride = zlib.decompress(packed), width * channels
    rows, above = [], bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        line = bytearray(raw[start + 1 : start + 1 + stride])
        unfilter(raw[start], line, above, channels)
        rows.append([(line[i], line[i + 1], line[i + 2]) for i in range(0, stride, channels)])
        above = line
    return rows


def unfilter(kind: int, line: bytearray, above: bytearray, channels: int) -> None:
    """Undo a row's filter (RFC 2083, 6) in place."""
    for index, value in enumerate(line):
        left = line[index - channels] if index >= channels else 0
        up, corner = above[index], above[index - channels] if index >= channels else 0
        estimate = left + up - corner
        nearest = min((left, up, corner), key=lambda near: abs(estimate - near))
        line[index] = (value + (0, left, up, (left + up) // 2, nearest)[kind]) & 0xFF


def cell(picture: list[list[tuple[int, int, int]]], x: int, y: int) -> tuple[tuple[int, int, int], ...]:
    lines = picture[y * CELL : (y + 1) * CELL]
    return tuple(pixel for line in lines for pixel in line[x * CELL : (x + 1) * CELL])


def white_cell() -> tuple[tuple[int, int, int], ...]:
    return ((255, 255, 255),) * (CELL * CELL)


def coloured(shape: tuple[tuple[int, int, int], ...]) -> bool:
    return sum(max(pixel) - min(pixel) > 60 for pixel in shape) > 20


if __name__ == "__main__":
    sys.exit({"policies": policies, "glyphs": glyphs}[sys.argv[1]]())
