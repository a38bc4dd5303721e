"""STUN as the relay needs it: against the test vectors of RFC 5769, and against anything at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oriel.egress.stun import answer_to, is_genuine, is_stun, parse_check

# RFC 5769, 2.1: a request with user name "evtj:h6vY" and password "VOkJxbRl1RmTxUk/WvJxBt".
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e740024000"
    "46e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb"
    "56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"


def test_a_request_of_the_standard_is_read_and_genuine() -> None:
    check = parse_check(REQUEST)
    assert check is not None
    assert check.ours == "evtj"
    assert not check.nominates
    assert is_genuine(check, PASSWORD)
    assert not is_genuine(check, PASSWORD[:-1])


def test_a_changed_byte_is_not_genuine() -> None:
    for index in range(8, 80):
        changed = bytearray(REQUEST)
        changed[index] ^= 1
        check = parse_check(bytes(changed))
        assert check is None or not is_genuine(check, PASSWORD), index


def test_the_answer_is_signed_and_tells_where_the_check_came_from() -> None:
    check = parse_check(REQUEST)
    assert check is not None
    for host, port, family in (("192.0.2.1", 32853, 1), ("2001:db8::7", 32853, 2)):
        answer = answer_to(check, PASSWORD, host, port)
        assert answer[:2] == b"\x01\x01"
        assert len(answer) == 20 + int.from_bytes(answer[2:4], "big")
        assert answer[8:20] == REQUEST[8:20]
        assert answer[20:22] == b"\x00\x20"
        assert answer[25] == family
        assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == port


@given(st.binary(max_size=200))
def test_anything_at_all_is_no_check_or_one(data: bytes) -> None:
    check = parse_check(data)
    assert check is None or is_stun(data)


@given(st.binary(max_size=100), st.integers(0, 88))
def test_a_torn_request_is_no_crash(tail: bytes, keep: int) -> None:
    parse_check(REQUEST[:keep] + tail)
