"""What may pass between a guest and its gateway, as nftables text. Pure.

Two tables in the desktop's namespace. `frames` sees every frame of the guest first, also what no
IP rule sees, and lets through only its own address in ARP and IPv4. `packets` then names the ports.
What is not named is dropped, in every family and both directions.
"""

from __future__ import annotations

from oriel.model.link import (
    AGENT_ANNOUNCE_PORT,
    AGENT_PORT,
    DNS_PORT,
    FAKE_NETWORK,
    GATEWAY_ADDRESS,
    GUEST_ADDRESS,
    GUEST_MAC,
    MEDIA_PORT,
    PROXY_PORT,
    TRANSPARENT_PORT,
    VNC_PORT,
)
from oriel.network.addresses import GATEWAY_DEVICE

__all__ = ["MAX_FLOWS", "ruleset"]

MAX_FLOWS = 8192  # connections tracked per desktop: the kernel's table is shared by the whole host


def ruleset() -> str:
    """The whole ruleset of a desktop's namespace: the same for every desktop."""
    return f"""\
flush ruleset

table netdev frames {{
    chain ingress {{
        type filter hook ingress device "{GATEWAY_DEVICE}" priority 0; policy drop;
        ether saddr != {GUEST_MAC} drop
        arp saddr ether {GUEST_MAC} arp saddr ip {GUEST_ADDRESS} accept
        ip saddr {GUEST_ADDRESS} ip daddr {{ {GATEWAY_ADDRESS}, {FAKE_NETWORK} }} accept
    }}
}}

table inet packets {{
    chain capture {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "{GATEWAY_DEVICE}" ip daddr {FAKE_NETWORK} meta l4proto tcp redirect to :{TRANSPARENT_PORT}
    }}

    chain input {{
        type filter hook input priority filter; policy drop;
        iifname != "{GATEWAY_DEVICE}" drop
        ct state invalid drop
        ct state established accept
        ct count over {MAX_FLOWS} drop
        ip daddr != {GATEWAY_ADDRESS} drop
        tcp dport {{ {DNS_PORT}, {PROXY_PORT}, {AGENT_ANNOUNCE_PORT} }} ct status ! dnat accept
        tcp dport {TRANSPARENT_PORT} ct status dnat accept
        udp dport {{ {DNS_PORT}, {MEDIA_PORT} }} accept
    }}

    chain forward {{
        type filter hook forward priority filter; policy drop;
    }}

    chain output {{
        type filter hook output priority filter; policy drop;
        oifname != "{GATEWAY_DEVICE}" drop
        ct state established accept
        ip daddr {GUEST_ADDRESS} tcp dport {{ {VNC_PORT}, {AGENT_PORT} }} accept
    }}
}}
"""
