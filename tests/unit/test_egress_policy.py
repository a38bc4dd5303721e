"""Targets in one spelling only, and what a policy says of them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.egress.policy import Reason, Ruleset
from oriel.egress.target import Target, TargetError, is_public, parse_authority
from oriel.model.egress import EgressMode, EgressSpec, Policy
from oriel.model.errors import InvalidError
from oriel.model.secret import Secret


def ruleset(
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    mode: EgressMode = EgressMode.PROXY,
    **more: object,
) -> Ruleset:
    return Ruleset.compile(EgressSpec(mode=mode, policy=Policy(allow=allow, deny=deny), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "0x7f.0.0.1:80", "0x7f000001:80", "2130706433:80", "0177.0.0.1:80", "127.1:80", "127.0.1:80",
        "127.0.0.01:80", "127.0.0.1.:80", "1.2.3.4.5:80", "256.1.1.1:80", "0:80", "a.0x1:80", "x.1:80",
        "①②⑦.0.0.1:80", "127。0。0。1:80", "[::1%lo]:80", "[127.0.0.1]:80", "::1:80", "[::1:80", "::1]:80",
        "user@host.example:80", "host.example", "host.example:", "host.example:0", "host.example:65536",
        "host.example:080000", "host.example:8o", "host.example:+80", "host.example:٨٠", ":80", "..:80",
        "a..b:80", "-a.example:80", "a-.example:80", "a b.example:80", "a/b:80", "a%2eb:80", "a\\b:80",
        f"{'a' * 64}.example:80", f"{'a.' * 127}ab:80",
    ],
)  # fmt: skip
def test_odd_spellings_are_refused(text: str) -> None:
    with pytest.raises(TargetError):
        parse_authority(text)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("Example.COM.:443", "example.com:443"),
        ("_dmarc.x--n.example:1", "_dmarc.x--n.example:1"),
        ("8.8.8.8:53", "8.8.8.8:53"),
        ("[2001:DB8:0::1]:65535", "[2001:db8::1]:65535"),
    ],
)
def test_proper_spellings_are_normalised(text: str, authority: str) -> None:
    assert parse_authority(text).authority == authority


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_authority(text, default_port=80)
    except TargetError:
        return
    assert parse_authority(target.authority) == target


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1",
        "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:20::1", "2001:db8::1",
        "2002:7f00:1::", "3fff::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "4000::1",
        "5f00::1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    assert ruleset().refuses(Target(ip_address(address), 443)) is Reason.NOT_PUBLIC


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "198.20.0.1",
                                     "2606:4700::1111", "2a00::1", "2400::1"])  # fmt: skip
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "name",
    ["localhost", "a.localhost", "metadata.google.internal", "internal", "printer.local", "x.lan",
     "router.home.arpa", "1.0.0.127.in-addr.arpa", "localhost.localdomain"],
)  # fmt: skip
def test_local_names_are_refused(name: str) -> None:
    assert ruleset().refuses(Target(name, 80)) is Reason.LOCAL_NAME


def test_mode_none_refuses_all() -> None:
    assert ruleset(mode=EgressMode.NONE).refuses(Target("example.com", 443)) is Reason.MODE_NONE


@pytest.mark.parametrize(
    ("entry", "hits", "misses"),
    [
        ("example.com", ["example.com:1", "example.com:443"], ["www.example.com:443", "notexample.com:443"]),
        ("Example.COM:443", ["example.com:443"], ["example.com:80"]),
        ("*.example.com", ["a.example.com:1", "a.b.example.com:1"], ["example.com:1", "xexample.com:1"]),
        ("*", ["a.example:1", "8.8.8.8:1"], []),
        ("*:25", ["a.example:25", "8.8.8.8:25"], ["a.example:26"]),
        ("*:8000-8002", ["a.example:8000", "a.example:8002"], ["a.example:7999", "a.example:8003"]),
        ("8.8.8.0/24", ["8.8.8.8:1"], ["8.8.9.8:1", "a.example:1"]),
        ("8.8.8.8", ["8.8.8.8:1"], ["8.8.8.9:1"]),
        ("8.8.8.0/24:53", ["8.8.8.8:53"], ["8.8.8.8:54"]),
        ("2606:4700::/32", ["[2606:4700::1]:1"], ["[2607:4700::1]:1", "8.8.8.8:1"]),
        ("[2606:4700::/32]:443", ["[2606:4700::1]:443"], ["[2606:4700::1]:80"]),
        ("[2606:4700::1]", ["[2606:4700::1]:443"], ["[2606:4700::2]:443"]),
    ],
)
def test_entries(entry: str, hits: list[str], misses: list[str]) -> None:
    deny, allow = ruleset(deny=(entry,)), ruleset(allow=(entry,))
    for text in hits:
        assert deny.refuses(parse_authority(text)) is Reason.DENY_RULE
        assert allow.refuses(parse_authority(text)) is None
    for text in misses:
        assert deny.refuses(parse_authority(text)) is None
        assert allow.refuses(parse_authority(text)) is Reason.NOT_ALLOWED


def test_deny_wins_over_allow() -> None:
    rules = ruleset(allow=("*.example",), deny=("bad.example",))
    assert rules.refuses(Target("bad.example", 443)) is Reason.DENY_RULE
    assert rules.refuses(Target("good.example", 443)) is None


def test_a_resolved_address_is_judged_too() -> None:
    rules = ruleset(deny=("8.8.8.0/24",), mode=EgressMode.DIRECT)
    name = Target("dns.example", 53)
    assert rules.refuses(name) is None
    assert rules.refuses_address(name, ip_address("8.8.8.8")) is Reason.DENY_RULE
    assert rules.refuses_address(name, ip_address("10.0.0.1")) is Reason.NOT_PUBLIC
    assert rules.refuses_address(name, ip_address("::ffff:10.0.0.1")) is Reason.NOT_PUBLIC
    allow = ruleset(allow=("8.8.8.0/24",), mode=EgressMode.DIRECT)
    assert allow.refuses(name) is None  # decided by its address
    assert allow.refuses_address(name, ip_address("8.8.8.8")) is None
    assert allow.refuses_address(name, ip_address("8.8.4.4")) is Reason.NOT_ALLOWED


def test_exempt_networks() -> None:
    rules = ruleset(mode=EgressMode.DIRECT, direct_allow=("127.0.0.0/8",))
    assert rules.refuses(parse_authority("127.0.0.1:80")) is None
    assert rules.refuses(parse_authority("10.0.0.1:80")) is Reason.NOT_PUBLIC


def test_all_faults_of_a_policy_together() -> None:
    with pytest.raises(InvalidError) as raised:
        ruleset(allow=("ok.example", "bad host"), deny=("1.2.3.4/8", "x:0"), direct_allow=("nonsense",))
    fields = [fault.field for fault in raised.value.faults]
    assert fields == ["policy.allow[1]", "policy.deny[0]", "policy.deny[1]", "direct_allow[0]"]


def test_a_spec_survives_the_wire() -> None:
    spec = EgressSpec(
        mode=EgressMode.PROXY,
        proxy="home",
        upstreams=(Secret("http://u:p@h.example:80"),),
        policy=Policy(allow=("a.example",), deny=("*:25",), byte_quota=9, access_log=True),
        direct_allow=("127.0.0.0/8",),
    )
    assert EgressSpec.from_wire(spec.to_wire()) == spec


def test_a_bad_spec_names_every_field_and_no_value() -> None:
    wire = {
        "mode": "canary", "upstreams": ["canary", 7], "failover": "canary", "extra": "canary",
        "policy": {"allow": "canary", "byte_quota": -1, "access_log": 1},
    }  # fmt: skip
    with pytest.raises(InvalidError) as raised:
        EgressSpec.from_wire(wire)
    assert {fault.field for fault in raised.value.faults} == {
        "egress.extra", "egress.upstreams", "egress.failover", "policy.allow", "policy.byte_quota",
        "policy.access_log", "mode",
    }  # fmt: skip
    assert "canary" not in str(raised.value.to_wire())
