"""Whatever a stranger sends: a parser gives a value or an error of ours, and holds little."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel.controller.sdp import answer_for_guest, offer_for_viewer
from oriel.model import wire
from oriel.model.errors import OrielError, WireError
from oriel.porter.rfb import NoHands, RfbGuard

T = TypeVar("T")
HELLO = b"RFB 003.008\n\x01\x01"
PICTURE = {0: 20, 3: 10, 150: 10}
# What a message of RFB begins with, and then anything.
RFB = st.builds(
    lambda kind, rest: bytes([kind]) + rest,
    st.sampled_from([0, 2, 3, 4, 5, 6, 150, 248, 250, 251, 255]), st.binary(max_size=40),
)  # fmt: skip


def only_pictures(passed: bytes) -> bool:
    """Whether a server would read nothing but what a picture needs."""
    while passed:
        if passed[0] in PICTURE:
            length = PICTURE[passed[0]]
        elif passed[0] == 2:
            length = 4 + 4 * struct.unpack_from(">H", passed, 2)[0]
        elif passed[0] == 248:
            length = 9 + passed[8]
        else:
            return False
        if len(passed) < length:
            return False
        passed = passed[length:]
    return True


@given(st.lists(st.one_of(RFB, st.binary(max_size=60)), max_size=20), st.data())
def test_a_viewer_that_may_only_look_gets_nothing_else_through(
    said: list[bytes], data: st.DataObject
) -> None:
    guard, stream, passed = RfbGuard(NoHands()), b"".join(said), b""
    assert guard.feed(HELLO) == HELLO
    with contextlib.suppress(OrielError):
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            passed += guard.feed(stream[:size])
            stream = stream[size:]
    assert only_pictures(passed)
    assert len(guard._held) <= 8192


@given(st.binary(max_size=200))
def test_a_viewer_s_greeting(said: bytes) -> None:
    guard = RfbGuard(NoHands())
    with contextlib.suppress(OrielError):
        passed = guard.feed(said)
        assert (
            HELLO.startswith(passed[:14]) or passed.startswith(b"RFB 003.007\n\x01\x01") or len(passed) < 14
        )


LINE = st.one_of(
    st.sampled_from([
        "v=0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "m=audio 9 UDP/TLS/RTP/SAVPF 97", "a=rtpmap:96 H264/90000",
        "a=candidate:1 1 UDP 1 192.0.2.66 9 typ host", "a=ice-ufrag:evil", "a=ice-pwd:evil",
        "c=IN IP4 192.0.2.66",
        "a=fingerprint:sha-256 00", "a=end-of-candidates", "m=", "a", "=",
    ]),
    st.text(max_size=60),
)  # fmt: skip
CREDENTIALS = {"ufrag": "ours", "pwd": "ours-too", "fingerprint": "sha-256 11"}


@given(st.lists(LINE, max_size=30), st.sampled_from(["\r\n", "\n", "\r"]))
def test_a_session_description_brings_no_address_of_its_own(lines: list[str], end: str) -> None:
    said = end.join(lines)
    for rewrite in (
        lambda: answer_for_guest(said, CREDENTIALS),
        lambda: offer_for_viewer(said, CREDENTIALS, [], version=1),
    ):
        try:
            made = rewrite()
        except WireError:
            continue
        assert "192.0.2.66 9 typ" not in made
        assert "ice-ufrag:evil" not in made


async def read(data: bytes, reading: Callable[[asyncio.StreamReader], Awaitable[T]]) -> T:
    reader = asyncio.StreamReader(limit=wire.MAX_LINE)
    reader.feed_data(data)
    reader.feed_eof()
    return await reading(reader)


@given(st.one_of(st.binary(max_size=300), st.from_regex(r"\A[\[{\]}\",:0-9]{0,200}\n\Z").map(str.encode)))
def test_lines_and_frames_of_a_socket(data: bytes) -> None:
    for reading in (wire.read_line, wire.read_frame):
        with contextlib.suppress(WireError):
            asyncio.run(read(data, reading))


@pytest.mark.parametrize(
    ("data", "reading"),
    [
        (b"[" * 100_000 + b"\n", wire.read_line), (b"{" + b" " * (2 << 20), wire.read_line),
        (b'"x"\n', wire.read_line), (b"\xff\n", wire.read_line),
        (struct.pack(">BI", 1, 1 << 31), wire.read_frame),
        (struct.pack(">BI", 1, 10) + b"short", wire.read_frame),
    ],
)  # fmt: skip
def test_what_is_too_long_too_deep_or_torn(data: bytes, reading: Any) -> None:
    with pytest.raises(WireError):
        asyncio.run(read(data, reading))


REQUEST = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ).map(lambda value: json.dumps({"verb": "echo", "args": value}).encode() + b"\n"),
    st.sampled_from([b"\n", b"{}\n", b'{"verb":1}\n', b'{"verb":"echo"', b'{"verb":"echo","args":[]}\n']),
)


@settings(max_examples=60)
@given(st.lists(REQUEST, min_size=1, max_size=8))
def test_a_keeper_s_socket_answers_the_next_caller_whatever_came_before(requests: list[bytes]) -> None:
    unforeseen: list[BaseException] = []

    def note(error: BaseException) -> OrielError:
        unforeseen.append(error)
        return OrielError("unforeseen")

    async def echo(call: wire.Call) -> dict[str, Any]:
        return {"args": dict(call.args)}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.handle_connection(reader, writer, {"echo": echo}, on_unknown_error=note)

    async def run(path: Path) -> None:
        async with await asyncio.start_unix_server(serve, path=path, limit=wire.MAX_LINE):
            for request in requests:
                reader, writer = await wire.unix(path)()
                writer.write(request)
                writer.write_eof()
                answer = await reader.read()
                assert answer == b"" or json.loads(answer)["ok"] in (True, False)
                await wire.close(writer)
            assert await wire.call(wire.unix(path), "echo", {"a": 1}) == {"args": {"a": 1}}

    with tempfile.TemporaryDirectory(prefix="ow-") as directory:
        asyncio.run(run(Path(directory) / "s"))
    assert not unforeseen
