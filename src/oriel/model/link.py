"""A desktop's network link, as the keeper hands it to a machine. The same addresses for every desktop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AGENT_ANNOUNCE_PORT",
    "AGENT_PORT",
    "DNS_PORT",
    "FAKE_NETWORK",
    "GATEWAY_ADDRESS",
    "GATEWAY_MAC",
    "GUEST_ADDRESS",
    "GUEST_MAC",
    "MEDIA_PORT",
    "PREFIX_LENGTH",
    "PROXY_PORT",
    "TRANSPARENT_PORT",
    "VNC_PORT",
    "Link",
]

GUEST_ADDRESS = "192.168.0.2"
GATEWAY_ADDRESS = "192.168.0.1"
PREFIX_LENGTH = 24
GUEST_MAC = "02:4f:52:00:00:02"
GATEWAY_MAC = "02:4f:52:00:00:01"
FAKE_NETWORK = "198.18.0.0/15"  # RFC 2544: what the gateway's DNS answers with

# On the gateway's address, inside the desktop's namespace.
PROXY_PORT = 3128
DNS_PORT = 53
TRANSPARENT_PORT = 3129
MEDIA_PORT = 7079  # UDP: the live view's relay
AGENT_ANNOUNCE_PORT = 7078  # the guest's agent connects here once it is up

# On the guest's address.
VNC_PORT = 5901
AGENT_PORT = 7077


@dataclass(frozen=True, kw_only=True)
class Link:
    """`netns`: the desktop's namespace, without uplink; the gateway listens and the VMM runs in it.

    `device`: for a VM the tap in `netns`; for a container "". `guest_netns`: for a container the
    prepared namespace the guest runs in (its interface `host0` already has its address); else None.
    """

    netns: Path
    device: str
    guest_netns: Path | None = None
