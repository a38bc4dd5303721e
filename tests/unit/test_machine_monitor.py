"""QEMU's monitor, spoken with by a server that ends as QEMU does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from oriel.machine.qemu import monitor
from oriel.model.errors import UnavailableError

GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}
}
REFUSED = b'{"error": {"class": "GenericError", "desc": "no"}, "id": ID}\n'


async def ask(path: Path, last: bytes) -> object:
    """`quit`, asked of a server that says `last` to it and is gone."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(GREETING).encode() + b"\n")
        while received := await reader.read(
            65536
        ):  # the library sends no end of line, and waits for each answer
            request = json.loads(received)
            if request["execute"] == "qmp_capabilities":
                writer.write(b'{"return": {}}\n')  # the library gives this one no id
            else:
                writer.write(last.replace(b"ID", json.dumps(request["id"]).encode()))
                break
        writer.close()
        try:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            gone.set()

    async with await asyncio.start_unix_server(serve, path):
        try:
            return await monitor.command(path, "quit", deadline_s=10)
        finally:
            await gone.wait()


def test_an_end_that_was_asked_for_is_no_failure(tmp_path: Path) -> None:
    answer = b'{"return": {}, "id": ID}\n'
    event = b'{"event": "SHUTDOWN", "timestamp": {"seconds": 1, "microseconds": 1}, "data": {}}\n'
    for _ in range(20):
        assert asyncio.run(ask(tmp_path / "qmp.sock", answer)) == {}
        assert asyncio.run(ask(tmp_path / "qmp.sock", answer + event)) == {}


@pytest.mark.parametrize("last", [b"", b'{"return": {}, "id', b"nonsense\n", REFUSED])
def test_an_end_without_an_answer_is_told(tmp_path: Path, last: bytes) -> None:
    with pytest.raises(UnavailableError, match="did not do 'quit'"):
        asyncio.run(ask(tmp_path / "qmp.sock", last))
