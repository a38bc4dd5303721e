"""The link's devices and addresses as iproute2 batches. Pure: text in, text out.

Every desktop's namespace looks the same; the constants are in `oriel.model.link`. Neighbours are
permanent, so that ARP has nothing to resolve and spoofing nothing to spoof.
"""

from __future__ import annotations

from oriel.model.link import GATEWAY_ADDRESS, GATEWAY_MAC, GUEST_ADDRESS, GUEST_MAC, PREFIX_LENGTH

__all__ = [
    "GATEWAY_DEVICE",
    "GUEST_DEVICE",
    "GUEST_SYSCTLS",
    "SYSCTLS",
    "guest_batch",
    "tap_batch",
    "veth_batch",
]

GATEWAY_DEVICE = "guest0"  # in the desktop's namespace: the tap, or our end of the veth
GUEST_DEVICE = "host0"  # in the container's namespace; the name systemd-nspawn gives, too

# Below /proc/sys/net. Written before any device exists, so that it is born with them.
GUEST_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/all/accept_source_route": "0",
    "ipv4/conf/default/accept_source_route": "0",
}
SYSCTLS = GUEST_SYSCTLS | {
    "ipv4/conf/all/rp_filter": "1",
    "ipv4/conf/default/rp_filter": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/route_localnet": "0",
    "ipv4/conf/default/route_localnet": "0",
    "ipv4/conf/all/arp_ignore": "2",  # answer only on the address's own device, to its own subnet
    "ipv4/conf/default/arp_ignore": "2",
    "ipv4/icmp_echo_ignore_all": "1",
}


def tap_batch(owner_uid: int) -> str:
    """For a VM, in the desktop's namespace: the tap (only `owner_uid` may open it) and our address."""
    return _lines(
        f"tuntap add dev {GATEWAY_DEVICE} mode tap user {owner_uid} vnet_hdr",
        f"link set dev {GATEWAY_DEVICE} address {GATEWAY_MAC}",
        *_gateway_side(),
    )


def veth_batch(guest_netns: str) -> str:
    """For a container, in the desktop's namespace: a veth whose other end lies in `guest_netns`."""
    return _lines(
        f"link add {GATEWAY_DEVICE} address {GATEWAY_MAC} type veth "
        f"peer name {GUEST_DEVICE} address {GUEST_MAC} netns {guest_netns}",
        *_gateway_side(),
    )


def guest_batch() -> str:
    """In the container's namespace: the guest's address and its only route."""
    return _lines(
        "link set dev lo up",
        f"addr add {GUEST_ADDRESS}/{PREFIX_LENGTH} dev {GUEST_DEVICE}",
        f"link set dev {GUEST_DEVICE} up",
        f"neigh replace {GATEWAY_ADDRESS} lladdr {GATEWAY_MAC} dev {GUEST_DEVICE} nud permanent",
        f"route add default via {GATEWAY_ADDRESS} dev {GUEST_DEVICE}",
    )


def _gateway_side() -> tuple[str, ...]:
    return (
        "link set dev lo up",
        f"addr add {GATEWAY_ADDRESS}/{PREFIX_LENGTH} dev {GATEWAY_DEVICE}",
        f"link set dev {GATEWAY_DEVICE} up",
        f"neigh replace {GUEST_ADDRESS} lladdr {GUEST_MAC} dev {GATEWAY_DEVICE} nud permanent",
    )


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
