"""The link's text: devices, addresses, neighbours and the ruleset."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel.model.errors import InvalidError
from oriel.model.link import Link
from oriel.model.spec import Runtime
from oriel.network.addresses import GUEST_SYSCTLS, SYSCTLS, guest_batch, tap_batch, veth_batch
from oriel.network.firewall import ruleset
from oriel.network.link import link_of


def test_a_virtual_machine_gets_a_tap_that_only_its_user_may_open() -> None:
    assert tap_batch(200007).splitlines() == [
        "tuntap add dev guest0 mode tap user 200007 vnet_hdr",
        "link set dev guest0 address 02:4f:52:00:00:01",
        "link set dev lo up",
        "addr add 192.168.0.1/24 dev guest0",
        "link set dev guest0 up",
        "neigh replace 192.168.0.2 lladdr 02:4f:52:00:00:02 dev guest0 nud permanent",
    ]


def test_a_container_gets_a_veth_into_its_own_namespace() -> None:
    assert veth_batch("oriel-d-aaaaaaaaaa-guest").splitlines() == [
        "link add guest0 address 02:4f:52:00:00:01 type veth "
        "peer name host0 address 02:4f:52:00:00:02 netns oriel-d-aaaaaaaaaa-guest",
        "link set dev lo up",
        "addr add 192.168.0.1/24 dev guest0",
        "link set dev guest0 up",
        "neigh replace 192.168.0.2 lladdr 02:4f:52:00:00:02 dev guest0 nud permanent",
    ]
    assert guest_batch().splitlines() == [
        "link set dev lo up",
        "addr add 192.168.0.2/24 dev host0",
        "link set dev host0 up",
        "neigh replace 192.168.0.1 lladdr 02:4f:52:00:00:01 dev host0 nud permanent",
        "route add default via 192.168.0.1 dev host0",
    ]


def test_no_side_forwards_or_speaks_ipv6() -> None:
    for values in (SYSCTLS, GUEST_SYSCTLS):
        assert values["ipv6/conf/all/disable_ipv6"] == values["ipv6/conf/default/disable_ipv6"] == "1"
        assert values["ipv4/ip_forward"] == "0"
    assert SYSCTLS["ipv4/conf/all/rp_filter"] == SYSCTLS["ipv4/conf/default/rp_filter"] == "1"


def test_the_ruleset_drops_what_it_does_not_name() -> None:
    text = ruleset()
    assert text.startswith("flush ruleset\n")
    hooks = [line.strip() for line in text.splitlines() if "type filter" in line]
    assert len(hooks) == 4
    assert all(line.endswith("policy drop;") for line in hooks)


def test_the_ruleset_names_these_ways_and_no_other() -> None:
    accepted = [line.strip() for line in ruleset().splitlines() if line.endswith(" accept")]
    assert accepted == [
        "arp saddr ether 02:4f:52:00:00:02 arp saddr ip 192.168.0.2 accept",
        "ip saddr 192.168.0.2 ip daddr { 192.168.0.1, 198.18.0.0/15 } accept",
        "ct state established accept",
        "tcp dport { 53, 3128, 7078 } ct status ! dnat accept",
        "tcp dport 3129 ct status dnat accept",
        "udp dport { 53, 7079 } accept",
        "ct state established accept",
        "ip daddr 192.168.0.2 tcp dport { 5901, 7077 } accept",
    ]


def test_a_link_follows_from_the_id_alone() -> None:
    assert link_of("d-aaaaaaaaaa", Runtime.CONTAINER) == Link(
        netns=Path("/run/netns/oriel-d-aaaaaaaaaa"),
        device="",
        guest_netns=Path("/run/netns/oriel-d-aaaaaaaaaa-guest"),
    )
    vm = Link(netns=Path("/run/netns/oriel-d-aaaaaaaaaa"), device="guest0")
    assert link_of("d-aaaaaaaaaa", Runtime.QEMU) == link_of("d-aaaaaaaaaa", Runtime.FIRECRACKER) == vm


def test_an_id_that_is_none_never_becomes_a_path() -> None:
    with pytest.raises(InvalidError):
        link_of("../../etc", Runtime.QEMU)
