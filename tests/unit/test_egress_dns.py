"""The DNS that forwards nothing."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.egress.dns import answer
from oriel.egress.names import FakeNames
from oriel.model.link import FAKE_NETWORK

A, AAAA, HTTPS, TXT, MX, ANY = 1, 28, 65, 16, 15, 255


def query(name: str, kind: int = A, *, klass: int = 1, edns: bytes = b"", flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode("latin-1") for label in name.split(".") if label)
    head = struct.pack(">6H", 0x1234, flags, 1, 0, 0, bool(edns))
    return head + labels + b"\0" + struct.pack(">HH", kind, klass) + edns


OPT = struct.pack(">BHHBBHH", 0, 41, 4096, 0, 0, 0, 0)
OPT_VERSION_1 = struct.pack(">BHHBBHH", 0, 41, 4096, 0, 1, 0, 0)


def read(reply: bytes) -> tuple[int, list[IPv4Address], int]:
    """(rcode, addresses, additional records) of an answer to `query`."""
    number, flags, questions, answers, authorities, additional = struct.unpack_from(">6H", reply)
    assert (number, flags & 0x8000, authorities) == (0x1234, 0x8000, 0)
    at = 12
    if questions:
        at = reply.index(b"\0", at) + 5
    addresses = []
    for _ in range(answers):
        pointer, kind, klass, ttl, length = struct.unpack_from(">HHHIH", reply, at)
        assert (pointer, kind, klass, length) == (0xC00C, A, 1, 4)
        assert 0 < ttl <= 300
        addresses.append(IPv4Address(reply[at + 12 : at + 16]))
        at += 16
    if additional:
        assert reply[at : at + 3] == b"\0\0\x29"
        at += 11
    assert at == len(reply)
    return flags & 15, addresses, additional


def test_a_gets_a_fake_address_that_stands_for_the_name() -> None:
    names = FakeNames()
    code, addresses, _ = read(answer(query("WwW.Example.COM"), names) or b"")
    assert code == 0
    assert addresses[0] in IPv4Network(FAKE_NETWORK)
    assert names.name_of(addresses[0]) == "www.example.com"
    assert read(answer(query("www.example.com."), names) or b"")[1] == addresses


@pytest.mark.parametrize("kind", [AAAA, HTTPS, TXT, MX, 2, 6, 12, 33, 252, 0, 65535])
def test_all_else_has_no_data(kind: int) -> None:
    names = FakeNames()
    assert read(answer(query("example.com", kind), names) or b"") == (0, [], 0)
    assert len(names) == 0


def test_the_question_is_repeated_as_it_was_asked() -> None:
    asked = query("ExAmPlE.com")  # resolvers use the case as a nonce
    assert asked[12:] in (answer(asked, FakeNames()) or b"")


def test_edns() -> None:
    assert read(answer(query("a.example", edns=OPT), FakeNames()) or b"")[2] == 1
    reply = answer(query("a.example", edns=OPT_VERSION_1), FakeNames()) or b""
    assert reply[-6] == 1  # extended RCODE 16: bad version


@pytest.mark.parametrize(
    "name",
    ["localhost", "x.localhost", "metadata.google.internal", "host.local", "1.0.168.192.in-addr.arpa",
     "use-application-dns.net", "127.0.0.1", "1.2.3.4", "0x7f", "2130706433", "",
     "a b.example", "\xe4.example", "-a.example", "a.-b"],
)  # fmt: skip
def test_names_that_do_not_exist(name: str) -> None:
    names = FakeNames()
    assert read(answer(query(name), names) or b"") == (3, [], 0)
    assert len(names) == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (query("a.example", klass=3), 5),
        (query("a.example", flags=0x2800), 4),  # opcode UPDATE
        (query("a.example")[:-1], 1),
        (query("a.example")[:4] + b"\0\2" + query("a.example")[6:], 1),  # two questions
        (struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", 1),  # points at itself
        (struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1", 1),
        (struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + b"\x03a.b\0\0\1\0\1", 1),  # a dot inside a label
    ],
)
def test_what_is_no_proper_query(data: bytes, code: int) -> None:
    assert read(answer(data, FakeNames()) or b"") == (code, [], 0)


@pytest.mark.parametrize("data", [b"", b"\0" * 11, query("a.example", flags=0x8180)])
def test_answers_and_scraps_get_no_answer(data: bytes) -> None:
    assert answer(data, FakeNames()) is None


@given(
    st.one_of(
        st.binary(max_size=120), st.binary(max_size=80).map(lambda tail: query("a.example")[:12] + tail)
    )
)
def test_no_bytes_break_it_and_no_answer_amplifies(data: bytes) -> None:
    reply = answer(data, FakeNames())
    assert reply is None or len(reply) <= len(data) + 16 + 11


def test_addresses_outlive_the_process() -> None:
    assert FakeNames().address_of("www.example.com") == FakeNames().address_of("www.example.com")


def test_the_least_recently_used_name_is_forgotten() -> None:
    names = FakeNames(limit=100)
    first = names.address_of("first.example")
    second = names.address_of("second.example")
    for number in range(98):
        names.address_of(f"n{number}.example")
    assert names.name_of(first) == "first.example"  # used just now
    names.address_of("one-more.example")
    assert names.name_of(second) is None
    assert names.name_of(first) == "first.example"
    assert len(names) == 100


def test_no_two_names_share_an_address() -> None:
    names = FakeNames()
    addresses = {names.address_of(f"n{number}.example") for number in range(8000)}
    assert len(addresses) == 8000
    network = IPv4Network(FAKE_NETWORK)
    assert network.network_address not in addresses
    assert network.broadcast_address not in addresses
    assert all(address in network for address in addresses)
