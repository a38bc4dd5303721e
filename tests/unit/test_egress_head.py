"""HTTP heads and bodies: what is ambiguous is refused, and no input does anything else than that."""

from __future__ import annotations

import asyncio
import re

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oriel.egress.body import read_body
from oriel.egress.channel import HeadTooLargeError, read_head
from oriel.egress.head import (
    MAX_HEAD,
    Body,
    Framing,
    HeadError,
    encode_head,
    end_to_end,
    parse_request,
    parse_response,
    request_target,
    response_framing,
)


def request(
    *lines: str, line: str = "GET http://a.example/ HTTP/1.1", host: str = "Host: a.example"
) -> bytes:
    return "\r\n".join((line, *((host,) if host else ()), *lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    "data",
    [
        request("Content-Length: 3", "Transfer-Encoding: chunked"),
        request("Content-Length: 3", "Content-Length: 3"),
        request("Content-Length: 3, 3"),
        request("Content-Length: +3"),
        request("Content-Length: -3"),
        request("Content-Length: 0x3"),
        request("Content-Length: 3 3"),
        request("Content-Length: "),
        request("Content-Length: " + "9" * 19),
        request("Content-Length: ²"),
        request("Transfer-Encoding: chunked, chunked"),
        request("Transfer-Encoding: gzip, chunked"),
        request("Transfer-Encoding: xchunked"),
        request("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        request("Transfer-Encoding: chunked", line="GET http://a.example/ HTTP/1.0"),
        request("Transfer-Encoding : chunked"),
        request("Transfer-Encoding\t: chunked"),
        request(" Transfer-Encoding: chunked"),
        request("X: a", " folded: b"),
        request("X: a", "\tfolded"),
        request("X: a\rTransfer-Encoding: chunked"),
        request("X: a\nTransfer-Encoding: chunked"),
        request("X: a\x00b"),
        request("X: a\x0bb"),
        request("X"),
        request(": empty"),
        request("X Y: z"),
        request("Connection: Content-Length", "Content-Length: 3"),
        request("Connection: close, Transfer-Encoding"),
        request("Proxy-Connection: host"),
        request(host=""),
        request("Host: b.example"),
        request(line="GET  http://a.example/ HTTP/1.1"),
        request(line="GET http://a.example/ x HTTP/1.1"),
        request(line="GET http://a.example/ HTTP/1.10"),
        request(line="GET http://a.example/ HTTP/2.0"),
        request(line="GET http://a.example/ http/1.1"),
        request(line="GET http://a.example/"),
        request(line=" GET http://a.example/ HTTP/1.1"),
        request(line="G(T http://a.example/ HTTP/1.1"),
        request(line="GET http://a.example/\x7f HTTP/1.1"),
        b"\r\n" + request(),
        request()[:-2],
        request() + b"x",
        request(*[f"X{n}: y" for n in range(300)]),
        b"",
    ],
)
def test_ambiguous_requests_are_refused(data: bytes) -> None:
    with pytest.raises(HeadError):
        parse_request(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: a\n\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_ambiguous_answers_are_refused(data: bytes) -> None:
    with pytest.raises(HeadError):
        response_framing(b"GET", parse_response(data))


@pytest.mark.parametrize(
    ("method", "head", "framing"),
    [
        (
            b"GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            Framing(Body.LENGTH, 3),
        ),
        (b"GET", b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing(Body.CHUNKED)),
        (b"GET", b"HTTP/1.1 200 \r\n\r\n", Framing(Body.UNTIL_CLOSE)),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Framing(Body.NONE)),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Framing(Body.NONE)),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", Framing(Body.NONE)),
    ],
)
def test_how_an_answer_ends(method: bytes, head: bytes, framing: Framing) -> None:
    assert response_framing(method, parse_response(head)) == framing


def test_what_concerns_one_connection_is_dropped() -> None:
    head = parse_request(
        request(
            "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "TE: trailers", "Upgrade: h2c",
            "HTTP2-Settings: x", "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive",
            "proxy-anything: x", "Accept: y", "Cookie: z",
        )
    )  # fmt: skip
    assert end_to_end(head.headers) == [(b"Accept", b"y"), (b"Cookie", b"z")]
    assert not head.keep_alive


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        ("http://a.example/x?y", "a.example:80", b"/x?y"),
        ("HTTP://A.example:8080", "a.example:8080", b"/"),
        ("http://a.example?q", "a.example:80", b"/?q"),
        ("http://[2606:4700::1]/", "[2606:4700::1]:80", b"/"),
    ],
)
def test_absolute_form(target: str, authority: str, path: bytes) -> None:
    # A Host that says otherwise does not count.
    found, found_path = request_target(parse_request(request(line=f"GET {target} HTTP/1.1")))
    assert (found.authority, found_path) == (authority, path)


@pytest.mark.parametrize(
    "target",
    ["/", "*", "a.example:80", "https://a.example/", "ftp://a.example/", "http://", "http:///x",
     "http://u:p@a.example/", "http://a.example:0/", "http://0x7f.1/", "http://a.example\\b/", "//a.example/",
     "http://a.example/#f", "http:a.example", "http://\xe4.example/"],
)  # fmt: skip
def test_other_forms_are_refused(target: str) -> None:
    with pytest.raises(HeadError):
        request_target(parse_request(request(line=f"GET {target} HTTP/1.1")))


PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"Host: a.example", b"Content-Length: 5",
    b"Transfer-Encoding: chunked", b"GET http://a.example/ HTTP/1.1", b"Connection: close", b"\x00", b",",
    b"HTTP/1.1 200 OK", b";", b"\xff", b"X: y",
]  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)))
@example(b"\r\n\r\n")
def test_no_bytes_do_more_than_parse_or_be_refused(data: bytes) -> None:
    for parse in (parse_request, parse_response):
        try:
            parse(data + b"\r\n\r\n")
        except HeadError:
            continue


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(b"\r\n".join))
def test_what_we_accept_a_second_reader_reads_alike(middle: bytes) -> None:
    """h11 stands for the origin: what we write out after accepting it has one meaning for both."""
    try:
        head = parse_request(b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n" + middle + b"\r\n\r\n")
    except HeadError:
        return
    headers = [(b"Host", b"a.example"), *end_to_end(head.headers)]
    if head.framing.body is Body.CHUNKED:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif head.framing.body is Body.LENGTH:
        headers.append((b"Content-Length", b"%d" % head.framing.length))
    origin = h11.Connection(h11.SERVER)
    origin.receive_data(encode_head(b"POST / HTTP/1.1", headers))
    event = origin.next_event()
    assert isinstance(event, h11.Request)
    names = [name for name, _ in event.headers]
    assert (b"transfer-encoding" in names) == (head.framing.body is Body.CHUNKED)
    assert (b"content-length" in names) == (head.framing.body is Body.LENGTH)
    assert origin.trailing_data == (b"", False)


class Pieces:
    """A channel that has exactly these pieces to give."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def unread(self, data: bytes) -> None:
        if data:
            self.pieces.insert(0, data)


async def whole(channel: Pieces, framing: Framing) -> bytes:
    return b"".join([piece async for piece in read_body(channel, framing)])  # type: ignore[arg-type]


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.integers(1, 7))
def test_chunks_are_joined_however_they_arrive(parts: list[bytes], step: int) -> None:
    wire = b"".join(b"%X; e=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nT: x\r\n\r\nnext"
    channel = Pieces(*(wire[at : at + step] for at in range(0, len(wire), step)))
    assert asyncio.run(whole(channel, Framing(Body.CHUNKED))) == b"".join(parts)
    assert b"".join(channel.pieces) == b"next"


@pytest.mark.parametrize(
    "wire",
    [b"5\nhello\r\n0\r\n\r\n", b"-5\r\n", b"+5\r\nhello", b"0x5\r\nhello\r\n", b"5 5\r\nhello", b"\r\n",
     b"5\r\nhello!\r\n", b"5\rX\r\nhello", b"5;\x00\r\nhello\r\n", b"fffffffffffffffff\r\n",
     b"5;" + b"x" * 2000 + b"\r\nhello\r\n0\r\n\r\n",
     b"0\r\n" + b"T: x\r\n" * 4000 + b"\r\n", b"G\r\n"],
)  # fmt: skip
def test_malformed_chunks_are_refused(wire: bytes) -> None:
    with pytest.raises(HeadError):
        asyncio.run(whole(Pieces(wire), Framing(Body.CHUNKED)))


@pytest.mark.parametrize(
    "wire", [b"", b"5", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"]
)
def test_a_cut_body_is_not_a_whole_one(wire: bytes) -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(whole(Pieces(wire), Framing(Body.CHUNKED)))
    with pytest.raises(ConnectionError):
        asyncio.run(whole(Pieces(wire), Framing(Body.LENGTH, 100)))


@given(st.binary(max_size=200))
def test_no_chunks_do_more_than_be_read_or_refused(wire: bytes) -> None:
    try:
        asyncio.run(whole(Pieces(wire), Framing(Body.CHUNKED)))
    except (HeadError, ConnectionError):
        return


def test_a_head_is_cut_out_of_the_stream() -> None:
    channel = Pieces(b"GET / HTTP/1.1\r", b"\n\r", b"\nbody")
    head = asyncio.run(read_head(channel, MAX_HEAD))  # type: ignore[arg-type]
    assert head == b"GET / HTTP/1.1\r\n\r\n"
    assert channel.pieces == [b"body"]


def test_an_endless_head_is_given_up() -> None:
    channel = Pieces(*([b"x" * 1000] * 200))
    with pytest.raises(HeadTooLargeError):
        asyncio.run(read_head(channel, MAX_HEAD))  # type: ignore[arg-type]
    assert len(channel.pieces) > 100  # and not read to its end
    assert re.match(rb"x+", channel.pieces[0])
