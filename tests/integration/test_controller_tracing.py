"""Traces reach the operator's collector, under the caller's own trace, and hold no secret."""

from __future__ import annotations

import asyncio
import secrets
import signal
import tempfile
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from oriel.host.layout import Home
from oriel.host.records import read_json
from tests.fakes.hostd import FakeHost
from tests.integration.test_controller_supervision import _process


def test_a_request_is_a_span_of_its_callers_trace() -> None:
    async def run(home: Home) -> None:
        taken: list[bytes] = []
        collector = await asyncio.start_server(lambda r, w: _take(taken, r, w), "127.0.0.1", 0)
        port = collector.sockets[0].getsockname()[1]
        trace, parent = secrets.token_hex(16), secrets.token_hex(8)
        async with FakeHost(home), _process(home, f"--otlp-endpoint=http://127.0.0.1:{port}") as process:
            token = home.admin_token.read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{trace}-{parent}-01"}
            url = (read_json(home.controller_record) or {})["url"]
            async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
                assert (await http.get(f"{url}/v1/desktops")).status_code == 200
            process.send_signal(signal.SIGTERM)
            # What was not sent yet is sent before it ends.
            assert await asyncio.to_thread(process.wait, 60) == 0
        collector.close()
        spans = [
            span
            for body in taken
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        mine = [span for span in spans if span.parent_span_id.hex() == parent]
        assert [span.trace_id.hex() for span in mine] == [trace]
        assert "/v1/desktops" in mine[0].name
        assert not any(token.encode() in body for body in taken)

    with tempfile.TemporaryDirectory(prefix="oc-") as directory:
        asyncio.run(run(Home(Path(directory))))


async def _take(taken: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of an exporter after the other; each body as it is, unpacked."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split()[0])
            taken.append(await reader.readexactly(length))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
            )
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()
