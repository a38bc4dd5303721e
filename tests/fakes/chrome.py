"""Chrome's debugging port without Chrome: its version page, and a WebSocket that answers every message."""

from __future__ import annotations

import asyncio
import json

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

ENDPOINT = "/devtools/browser/5f1c0a8e-fake"


async def serve_chrome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"GET /json/version "):
        body = json.dumps(
            {"Browser": "Fake/1", "webSocketDebuggerUrl": f"ws://127.0.0.1:9222{ENDPOINT}"}
        ).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        await writer.drain()
        return
    assert head.startswith(f"GET {ENDPOINT} ".encode()), head
    protocol = ServerProtocol()
    protocol.receive_data(head)
    while True:
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                asked = json.loads(bytes(event.data))
                protocol.send_text(
                    json.dumps({"id": asked["id"], "result": {"echo": asked["method"]}}).encode()
                )
        for data in protocol.data_to_send():
            writer.write(data)
        await writer.drain()
        data = await reader.read(65536)
        if not data:
            return
        protocol.receive_data(data)
