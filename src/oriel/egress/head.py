"""HTTP/1.1 message heads, read strictly (RFC 9112), and the framing of the body that follows.

Smuggling lives on two readers who disagree where a message ends. So whatever two readers could read
differently is refused: bare CR or LF, folded lines, space before a colon, two lengths, a length beside
chunked, any other transfer coding. What passes is written anew, never copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from oriel.egress.target import Target, TargetError, parse_authority

__all__ = [
    "MAX_HEAD",
    "BadTargetError",
    "Body",
    "Framing",
    "HeadError",
    "Headers",
    "RequestHead",
    "ResponseHead",
    "encode_head",
    "end_to_end",
    "parse_request",
    "parse_response",
    "request_target",
    "response_framing",
    "target_of",
]

MAX_HEAD = 64 << 10  # bytes; Chrome itself stops at 256 KiB, most servers at 8 to 64
MAX_FIELDS = 256
MAX_LENGTH_DIGITS = 18

Headers = list[tuple[bytes, bytes]]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+\Z")
_REQUEST_LINE = re.compile(rb"([^ ]+) ([^ ]+) HTTP/1\.([01])\Z")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")

# RFC 9110 section 7.6.1, and everything a proxy and its client say to each other only.
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings")
)
# A `Connection: host` must not be able to remove what decides where a message goes or ends.
_NEVER_NOMINATED = frozenset((b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization"))


class HeadError(ValueError):
    """A head that is malformed or ambiguous. The text may be shown; `status` is what to answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class BadTargetError(HeadError):
    """The target's host or port is not spelled as one. `authority` is what stood there, cut short."""

    def __init__(self, message: str, authority: bytes) -> None:
        super().__init__(message)
        self.authority = authority.decode("ascii", "replace")[:100]


class Body(Enum):
    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until_close"


@dataclass(frozen=True, slots=True)
class Framing:
    body: Body
    length: int = 0


@dataclass(frozen=True, slots=True)
class RequestHead:
    method: bytes
    target: bytes
    minor: int  # of HTTP/1.x
    headers: Headers
    framing: Framing

    @property
    def keep_alive(self) -> bool:
        return _keep_alive(self.minor, self.headers)

    @property
    def upgrade(self) -> bytes:
        """The protocol asked for, if the connection is really to be upgraded, else b""."""
        wanted = _values(self.headers, b"upgrade")
        asked = self.minor == 1 and b"upgrade" in _connection_tokens(self.headers)
        return wanted[0] if asked and len(wanted) == 1 else b""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    status: int
    reason: bytes
    minor: int
    headers: Headers

    @property
    def keep_alive(self) -> bool:
        return _keep_alive(self.minor, self.headers)


def parse_request(data: bytes) -> RequestHead:
    """`data` ends with the empty line. HeadError if any rule is broken."""
    line, headers = _split(data)
    match = _REQUEST_LINE.match(line)
    if match is None or not _TOKEN.match(match[1]) or not _TARGET.match(match[2]):
        raise HeadError("the request line is not METHOD TARGET HTTP/1.1")
    minor = int(match[3])
    hosts = _values(headers, b"host")
    if len(hosts) > 1 or (minor == 1 and not hosts):
        raise HeadError("there must be exactly one Host")
    return RequestHead(match[1], match[2], minor, headers, _request_framing(minor, headers))


def parse_response(data: bytes) -> ResponseHead:
    """`data` ends with the empty line. HeadError if any rule is broken."""
    line, headers = _split(data)
    match = _STATUS_LINE.match(line)
    if match is None:
        raise HeadError("the status line is not HTTP/1.1 STATUS REASON", 502)
    _connection_tokens(headers)
    return ResponseHead(int(match[2]), match[3] or b"", int(match[1]), headers)


def request_target(head: RequestHead) -> tuple[Target, bytes]:
    """Where a plain (absolute-form) request goes, and its path for the origin. HeadError otherwise.

    The received Host is ignored in favour of the absolute form (RFC 9112, section 3.2.2).
    """
    match = re.match(rb"(?i)http://([^/?#]*)([^#]*)", head.target)
    if match is None:
        raise HeadError("this is a proxy: the target must begin with http://, or be asked for by CONNECT")
    if match.end() != len(head.target):
        raise HeadError("the target must not have a fragment")
    target = target_of(match[1], default_port=80)
    path = match[2] or (b"*" if head.method == b"OPTIONS" else b"/")
    return target, path if path[:1] in b"/*" else b"/" + path


def target_of(authority: bytes, *, default_port: int | None = None) -> Target:
    """`host:port` as a Target. BadTargetError."""
    try:
        return parse_authority(authority.decode("ascii"), default_port=default_port)
    except TargetError as error:
        raise BadTargetError(str(error), authority) from error
    except UnicodeDecodeError as error:
        raise BadTargetError("the host is not ASCII", authority) from error


def response_framing(request_method: bytes, head: ResponseHead) -> Framing:
    """How the body after `head` ends (RFC 9112, section 6.3)."""
    lengths = _values(head.headers, b"content-length")
    codings = _values(head.headers, b"transfer-encoding")
    if codings and lengths:
        raise HeadError("the answer has two different lengths", 502)
    if codings and (head.minor == 0 or [coding.lower() for coding in codings] != [b"chunked"]):
        raise HeadError("the answer has a transfer coding other than chunked", 502)
    # Some origins repeat the length; the same number twice is no ambiguity.
    length = _length(set(lengths), 502)
    if request_method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        return Framing(Body.NONE)
    if codings:
        return Framing(Body.CHUNKED)
    return Framing(Body.UNTIL_CLOSE) if length is None else Framing(Body.LENGTH, length)


def end_to_end(headers: Headers) -> Headers:
    """`headers` without what concerns one connection only; Host and framing are the writer's too."""
    nominated = _connection_tokens(headers)
    dropped = _HOP_BY_HOP | nominated | {b"host", b"content-length"}
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(b"proxy-")
    ]


def encode_head(line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n".join((line, *(name + b": " + value for name, value in headers), b"", b""))


def _split(data: bytes) -> tuple[bytes, Headers]:
    if len(data) > MAX_HEAD:
        raise HeadError("the head is too large", 431)
    lines = data.split(b"\r\n")
    if len(lines) < 3 or lines[-1] or lines[-2]:
        raise HeadError("the head does not end with an empty line")
    if len(lines) - 3 > MAX_FIELDS:
        raise HeadError(f"there are more than {MAX_FIELDS} header fields", 431)
    headers: Headers = []
    for line in lines[1:-2]:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.match(name):
            raise HeadError("a header line is not NAME: VALUE")
        value = value.strip(b" \t")
        if not _VALUE.match(value):
            raise HeadError("a header value contains control characters")
        headers.append((name, value))
    if b"\n" in lines[0] or b"\r" in lines[0]:
        raise HeadError("the first line contains control characters")
    return lines[0], headers


def _request_framing(minor: int, headers: Headers) -> Framing:
    lengths = _values(headers, b"content-length")
    codings = _values(headers, b"transfer-encoding")
    _connection_tokens(headers)
    if len(lengths) > 1 or (codings and lengths):
        raise HeadError("the request has more than one length")
    if codings:
        if minor == 0 or [coding.lower() for coding in codings] != [b"chunked"]:
            raise HeadError("the only transfer coding here is chunked, in HTTP/1.1", 501)
        return Framing(Body.CHUNKED)
    length = _length(set(lengths), 400)
    return Framing(Body.LENGTH, length) if length else Framing(Body.NONE)


def _length(values: set[bytes], status: int) -> int | None:
    if not values:
        return None
    value = values.pop()
    if values or not re.fullmatch(rb"[0-9]{1,%d}" % MAX_LENGTH_DIGITS, value):
        raise HeadError("Content-Length is not one number", status)
    return int(value)


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name.lower() == wanted]


def _connection_tokens(headers: Headers) -> set[bytes]:
    tokens = {
        token.strip(b" \t").lower()
        for value in _values(headers, b"connection") + _values(headers, b"proxy-connection")
        for token in value.split(b",")
    }
    if tokens & _NEVER_NOMINATED:
        raise HeadError("Connection names a header field that must not be dropped")
    return tokens


def _keep_alive(minor: int, headers: Headers) -> bool:
    tokens = _connection_tokens(headers)
    return b"close" not in tokens and (minor == 1 or b"keep-alive" in tokens)
