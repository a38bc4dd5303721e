"""A guest that lies about who it is: other addresses, other MACs, other protocols.

Each lie is shown to arrive without the firewall, and not to arrive with it: an honest datagram sent
after it comes first.
"""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from oriel.model.link import DNS_PORT, GATEWAY_ADDRESS, GATEWAY_MAC, GUEST_ADDRESS, GUEST_MAC
from tests.attack.links import HostileLink, hostile_link

STRANGER = "192.168.0.77"
STRANGER_MAC = "02:00:00:00:00:77"
HONEST = (b"honest", GUEST_ADDRESS)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def datagram(*, source: str = GUEST_ADDRESS, source_mac: str = GUEST_MAC) -> bytes:
    """An Ethernet frame with a UDP datagram "a lie" for the gateway's DNS port."""
    payload = b"a lie!"
    udp = struct.pack("!4H", 5353, DNS_PORT, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton(GATEWAY_ADDRESS)
    head = head[:10] + struct.pack("!H", checksum(head + addresses)) + addresses
    return mac(GATEWAY_MAC) + mac(source_mac) + b"\x08\x00" + head + udp


def arp_announcement(address: str, hardware: str) -> bytes:
    """A gratuitous ARP reply: `address` is at `hardware`."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    body += mac(hardware) + socket.inet_aton(address) + mac(GATEWAY_MAC) + socket.inet_aton(GATEWAY_ADDRESS)
    return mac(GATEWAY_MAC) + mac(hardware) + b"\x08\x06" + body


LIES = {
    "another address": datagram(source=STRANGER),
    "an address outside": datagram(source="203.0.113.50"),
    "the gateway's own address": datagram(source=GATEWAY_ADDRESS),
    "another MAC": datagram(source_mac=STRANGER_MAC),
    "the gateway's MAC": datagram(source_mac=GATEWAY_MAC),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_about_the_sender_does_not_arrive(lie: bytes) -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            await link.frame(datagram())
            assert await link.next_datagram() == (b"a lie!", GUEST_ADDRESS)  # an honest frame made like a lie
            await link.frame(lie)
            await link.mark()
            assert await link.next_datagram() == HONEST

            without_defences(link)
            await link.frame(lie)
            await link.mark()
            assert (await link.next_datagram())[0] == b"a lie!"

    asyncio.run(scenario())


def test_the_route_check_alone_stops_addresses_from_outside() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            link.lower_the_firewall()
            await link.frame(LIES["an address outside"])
            await link.mark()
            assert await link.next_datagram() == HONEST

    asyncio.run(scenario())


def test_arp_cannot_move_the_guests_address() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            lie = arp_announcement(GUEST_ADDRESS, STRANGER_MAC)
            assert GUEST_MAC in neighbour(link)
            await link.frame(lie)
            await link.mark()
            assert await link.next_datagram() == HONEST
            assert GUEST_MAC in neighbour(link)

            link.lower_the_firewall()  # a permanent neighbour holds by itself …
            await link.frame(lie)
            await link.mark()
            assert await link.next_datagram() == HONEST
            assert GUEST_MAC in neighbour(link)

            link.in_gateway("sysctl", "-qw", "net.ipv4.neigh.guest0.locktime=0")
            neigh = ("ip", "neigh", "replace", GUEST_ADDRESS, "lladdr", GUEST_MAC, "dev", "guest0", "nud")
            link.in_gateway(*neigh, "stale")  # … and one that is not is soon led astray
            async with asyncio.timeout(30):
                while STRANGER_MAC not in neighbour(link):
                    await link.frame(lie)

    asyncio.run(scenario())


def test_ipv6_is_dead_on_both_sides_and_in_the_firewall() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            for side in (link.in_gateway, link.in_guest):
                assert side("ip", "-6", "addr").stdout == b""
            # A guest that switches it on again, and a gateway that for some reason did, too:
            for side, address in ((link.in_guest, "2001:db8::2"), (link.in_gateway, "2001:db8::1")):
                device = "host0" if side == link.in_guest else "guest0"
                side("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=0")
                side("ip", "addr", "add", f"{address}/64", "dev", device, "nodad")
            listener = await link.gateway.call(_ipv6_listener)
            link.opened.append(listener)
            link.in_guest("ip", "neigh", "replace", "2001:db8::1", "lladdr", GATEWAY_MAC, "dev", "host0")
            await link.send(_udp6, b"six", ("2001:db8::1", DNS_PORT))
            await link.mark()
            assert await link.next_datagram() == HONEST
            with pytest.raises(BlockingIOError):
                listener.recv(16)
            link.lower_the_firewall()
            await link.send(_udp6, b"six", ("2001:db8::1", DNS_PORT))
            async with asyncio.timeout(30):
                assert await asyncio.get_running_loop().sock_recv(listener, 16) == b"six"

    asyncio.run(scenario())


def without_defences(link: HostileLink) -> None:
    """Neither firewall nor route check, and addresses of our own believed when they come from outside."""
    link.lower_the_firewall()
    for name in ("all", "guest0"):
        link.in_gateway("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
        link.in_gateway("sysctl", "-qw", f"net.ipv4.conf.{name}.accept_local=1")


def neighbour(link: HostileLink) -> str:
    return link.in_gateway("ip", "neigh", "show", GUEST_ADDRESS).stdout.decode()


def _ipv6_listener() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("2001:db8::1", DNS_PORT))
    return sock


def _udp6() -> socket.socket:
    return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
