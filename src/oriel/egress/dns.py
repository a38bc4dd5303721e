"""The desktop's DNS: it forwards nothing. A gets a fake address; all else is answered with no data.

Pure: bytes in, bytes out. Only what a stub resolver sends is understood (RFC 1035, one question, no
compression; EDNS by RFC 6891); what is no query gets no answer, so the gateway cannot be made to talk to
itself.
"""

from __future__ import annotations

import struct

from oriel.egress.names import FakeNames
from oriel.egress.policy import LOCAL_SUFFIXES
from oriel.egress.target import TargetError, parse_host

__all__ = ["MAX_QUERY", "answer"]

MAX_QUERY = 4096  # bytes; more is not read
TTL_S = 60
TYPE_A, TYPE_OPT, TYPE_ANY = 1, 41, 255
CLASS_IN, CLASS_ANY = 1, 255
NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 3, 4, 5
BADVERS_HIGH = 1  # extended RCODE 16 in the OPT record's upper bits
UDP_SIZE = 1232  # DNS flag day 2020: what passes everywhere unfragmented

# Firefox and others turn DNS over HTTPS off where this name does not exist.
CANARY = "use-application-dns.net"


def answer(query: bytes, names: FakeNames) -> bytes | None:
    """The answer to `query`; None if it deserves none (too short, or itself an answer)."""
    if len(query) < 12:
        return None
    number, flags, questions, answers, authorities, additional = struct.unpack_from(">6H", query)
    if flags & 0x8000:
        return None
    if (flags >> 11) & 15:
        return _reply(number, flags, NOTIMP)
    if questions != 1 or answers or authorities:
        return _reply(number, flags, FORMERR)
    parsed = _question(query)
    if parsed is None:
        return _reply(number, flags, FORMERR)
    name, kind, klass, end = parsed
    question = query[12:end]
    edns = _edns_version(query, end, additional)
    if edns is not None and edns > 0:
        return _reply(number, flags, NOERROR, question, opt_high=BADVERS_HIGH)
    opt_high = None if edns is None else 0
    if klass not in (CLASS_IN, CLASS_ANY):
        return _reply(number, flags, REFUSED, question, opt_high=opt_high)
    host = _host(name)
    if host is None:
        return _reply(number, flags, NXDOMAIN, question, opt_high=opt_high)
    record = b""
    if kind in (TYPE_A, TYPE_ANY):
        address = names.address_of(host).packed
        record = struct.pack(">HHHIH", 0xC00C, TYPE_A, CLASS_IN, TTL_S, 4) + address
    return _reply(number, flags, NOERROR, question, record, opt_high=opt_high)


def _reply(
    number: int,
    flags: int,
    code: int,
    question: bytes = b"",
    record: bytes = b"",
    *,
    opt_high: int | None = None,
) -> bytes:
    # Response, recursion available; opcode and "recursion desired" as asked.
    head = 0x8080 | (flags & 0x7900) | code
    opt = b""
    if opt_high is not None:
        opt = struct.pack(">BHHBBHH", 0, TYPE_OPT, UDP_SIZE, opt_high, 0, 0, 0)
    counts = struct.pack(">6H", number, head, bool(question), bool(record), 0, bool(opt))
    return counts + question + record + opt


def _question(query: bytes) -> tuple[bytes, int, int, int] | None:
    """(name in dotted form, type, class, where it ends), None if malformed."""
    labels: list[bytes] = []
    at = 12
    while True:
        if at >= len(query) or at - 12 > 254:
            return None
        length = query[at]
        at += 1
        if length == 0:
            break
        # 64 and above would be compression, which has nothing to point at in a question.
        if length > 63 or at + length > len(query):
            return None
        labels.append(query[at : at + length])
        at += length
    if at + 4 > len(query) or any(b"." in label for label in labels):
        return None
    kind, klass = struct.unpack_from(">HH", query, at)
    return b".".join(labels), kind, klass, at + 4


def _edns_version(query: bytes, at: int, additional: int) -> int | None:
    """The version of an OPT record right after the question, None if there is none."""
    if additional < 1 or at + 11 > len(query) or query[at] != 0:
        return None
    kind, _, _, version = struct.unpack_from(">HHBB", query, at + 1)
    return version if kind == TYPE_OPT else None


def _host(name: bytes) -> str | None:
    """The name as a host that may exist outside; None for addresses, local names and nonsense."""
    try:
        host = parse_host(name.decode("ascii"))
    except (TargetError, UnicodeDecodeError):
        return None
    if not isinstance(host, str) or host == CANARY or host.endswith(f".{CANARY}"):
        return None
    local = any(host == suffix or host.endswith(f".{suffix}") for suffix in LOCAL_SUFFIXES)
    return None if local else host
