"""STUN (RFC 8489) as an ICE-lite agent (RFC 8445) needs it: telling a good check, and answering it. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass

__all__ = ["Check", "answer_to", "is_genuine", "is_stun", "parse_check"]

COOKIE = 0x2112A442
REQUEST, RESPONSE = 0x0001, 0x0101
USERNAME, INTEGRITY, XOR_MAPPED_ADDRESS, USE_CANDIDATE, FINGERPRINT = 0x0006, 0x0008, 0x0020, 0x0025, 0x8028
FINGERPRINT_XOR = 0x5354554E
HEADER = struct.Struct(">HHI12s")
ATTRIBUTE = struct.Struct(">HH")
MOST_BYTES = 1500
DIGEST_BYTES = 20


@dataclass(frozen=True)
class Check:
    """A binding request. `ours`: the first half of its user name, which names whom it is for."""

    transaction: bytes
    ours: str
    nominates: bool
    signed: bytes  # what the digest is over
    digest: bytes


def is_stun(data: bytes | memoryview) -> bool:
    """Whether a packet is STUN, and neither DTLS nor SRTP (RFC 7983)."""
    return len(data) >= HEADER.size and data[0] < 4 and bytes(data[4:8]) == COOKIE.to_bytes(4, "big")


def parse_check(data: bytes) -> Check | None:
    """A binding request with user name and digest; None for anything else, however malformed."""
    if not HEADER.size <= len(data) <= MOST_BYTES or not is_stun(data):
        return None
    kind, length, _, transaction = HEADER.unpack_from(data)
    if kind != REQUEST or length != len(data) - HEADER.size or length % 4:
        return None
    ours, nominates, at = "", False, HEADER.size
    while at + ATTRIBUTE.size <= len(data):
        name, size = ATTRIBUTE.unpack_from(data, at)
        value = data[at + ATTRIBUTE.size : at + ATTRIBUTE.size + size]
        if len(value) != size:
            return None
        if name == USERNAME:
            ours = value.decode("latin-1").partition(":")[0]
        elif name == USE_CANDIDATE:
            nominates = True
        elif name == INTEGRITY and size == DIGEST_BYTES and ours:
            # What follows the digest is not covered by it, and so not believed.
            head = HEADER.pack(kind, at + ATTRIBUTE.size + size - HEADER.size, COOKIE, transaction)
            return Check(transaction, ours, nominates, head + data[HEADER.size : at], value)
        at += ATTRIBUTE.size + size + -size % 4
    return None


def is_genuine(check: Check, password: bytes) -> bool:
    return hmac.compare_digest(_digest(check.signed, password), check.digest)


def answer_to(check: Check, password: bytes, host: str, port: int) -> bytes:
    """The success response to a check that came from `host`:`port`."""
    attributes = _attribute(XOR_MAPPED_ADDRESS, _xor_address(host, port, check.transaction))
    covered = len(attributes) + ATTRIBUTE.size + DIGEST_BYTES
    head = HEADER.pack(RESPONSE, covered, COOKIE, check.transaction)
    attributes += _attribute(INTEGRITY, _digest(head + attributes, password))
    head = HEADER.pack(RESPONSE, covered + ATTRIBUTE.size + 4, COOKIE, check.transaction)
    fingerprint = zlib.crc32(head + attributes) ^ FINGERPRINT_XOR
    return head + attributes + _attribute(FINGERPRINT, fingerprint.to_bytes(4, "big"))


def _attribute(name: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(name, len(value)) + value + bytes(-len(value) % 4)


def _xor_address(host: str, port: int, transaction: bytes) -> bytes:
    address = ipaddress.ip_address(host)
    mask = (COOKIE.to_bytes(4, "big") + transaction)[: len(address.packed)]
    masked = bytes(a ^ b for a, b in zip(address.packed, mask, strict=True))
    family = 1 if address.version == 4 else 2
    return struct.pack(">BBH", 0, family, port ^ (COOKIE >> 16)) + masked


def _digest(signed: bytes, password: bytes) -> bytes:
    return hmac.new(password, signed, hashlib.sha1).digest()
