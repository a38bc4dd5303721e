"""A guest that lies about its clipboard: the controller stays well, and it is never more than data."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import Any

import pytest

from oriel.model import wire
from oriel.model.clipboard import MOST_BYTES, TEXT
from tests.fakes.controller import Running, against
from tests.fakes.keeper import FakeDesktop

PATH = "/v1/desktops/mine/computer/clipboard"
IMAGE = f"{PATH}/image"


def answers(desktop: FakeDesktop, result: dict[str, Any], data: bytes = b"") -> None:
    async def read(call: wire.Call) -> None:
        await call.answer(result)
        call.writer.write(data)
        await call.writer.drain()

    desktop.agent.on_clipboard_read = read  # type: ignore[method-assign]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(width: int, height: int, packed: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "result",
    [
        {}, {"parts": None}, {"parts": {"text/plain": 5}}, {"parts": [["text/plain"]]}, {"parts": [[5, 5]]},
        {"parts": [["text/plain", -1]]}, {"parts": [["text/plain", 1 << 60]]},
        {"parts": [["text/plain", "5"]]}, {"parts": [["text/plain", 3]], "offered": 7},
        {"parts": [["text/plain", MOST_BYTES[TEXT] + 1]]}, {"parts": [["image/png", 5]]},
        {"parts": [["text/x-evil", 5]]}, {"parts": [["text/plain", 1]] * 3},
    ],
)  # fmt: skip
@against()
async def test_a_list_of_formats_that_cannot_be(c: Running, result: dict[str, Any]) -> None:
    answers(await c.desktop("mine"), result, b"xxxxx")
    answer = await c.ask(c.token, "GET", PATH)
    assert answer.status_code in (200, 502), answer.text
    if answer.status_code == 502:
        assert answer.json()["code"] == "protocol"
    assert (await c.state("mine"))["state"] == "running"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\xed\xa0\x80", b"ab"])
@against()
async def test_a_text_that_is_none_or_ends_early(c: Running, data: bytes) -> None:
    answers(await c.desktop("mine"), {"parts": [["text/plain", 3]]}, data)
    answer = await c.ask(c.token, "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (502, "protocol")


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html><script>alert(1)</script>",
        picture(100_000, 100_000, zlib.compress(b"")), picture(16, 16, zlib.compress(bytes(64 << 20), 9)),
        picture(4000, 4000, b"\0" * 99), picture(16, 16, zlib.compress(b"")),
    ],
)  # fmt: skip
@against()
async def test_a_picture_that_is_a_page_or_a_bomb(c: Running, data: bytes) -> None:
    desktop = await c.desktop("mine")
    desktop.agent.copy(image=data)
    answer = await c.ask(c.token, "GET", IMAGE)
    assert (answer.status_code, answer.json()["code"]) == (502, "protocol")
    put = await c.ask(c.token, "PUT", IMAGE, content=data)
    assert (put.status_code, put.json()["faults"][0]["field"]) == (422, "body")
    assert desktop.agent.clips["image/png"] == data, "a bomb was passed on"


@against()
async def test_a_picture_is_never_a_page(c: Running) -> None:
    sound = picture(1, 1, zlib.compress(bytes(4)))
    hostile = (
        sound[:33] + chunk(b"tEXt", b"<script>alert(1)</script>") + sound[33:] + b"<script>alert(2)</script>"
    )
    (await c.desktop("mine")).agent.copy(image=hostile)
    answer = await c.ask(c.token, "GET", IMAGE)
    assert answer.content == sound
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@against()
async def test_a_clipboard_that_changes_without_end_costs_its_viewer_little(c: Running) -> None:
    """It is told ten thousand times that something was copied, and answers its pings all the same."""
    desktop = await c.desktop("mine")

    async def watch(call: wire.Call) -> None:
        await call.answer({})
        for _ in range(10_000):
            await wire.write_line(call.writer, {})
        await call.reader.read(1)

    desktop.agent.on_clipboard_watch = watch  # type: ignore[method-assign]
    async with c.websocket("/v1/desktops/mine/webrtc", token=c.token) as socket, asyncio.timeout(120):
        await socket.send('{"type": "rung", "rung": "vnc"}')
        await socket.send('{"type": "ping", "id": 7}')
        told = 0
        while '"pong"' not in (message := await socket.recv()):
            told += '"clipboard"' in str(message)
        assert told < 10_000
