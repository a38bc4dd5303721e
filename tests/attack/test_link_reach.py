"""Where a guest's packets may go: to its gateway's named ports, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess

import pytest

from oriel.model.link import (
    AGENT_ANNOUNCE_PORT,
    AGENT_PORT,
    DNS_PORT,
    GATEWAY_ADDRESS,
    GUEST_ADDRESS,
    PROXY_PORT,
    TRANSPARENT_PORT,
    VNC_PORT,
)
from tests.attack.links import host_addresses, hostile_link, reaches

SO_ORIGINAL_DST = 80  # <linux/netfilter_ipv4.h>


def test_a_guest_reaches_the_gateways_named_ports_and_no_other() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            await link.listen(link.gateway, GATEWAY_ADDRESS, 9999)
            link.lower_the_firewall()
            assert await link.guest_reaches(GATEWAY_ADDRESS, 9999)
            assert await link.guest_reaches(GATEWAY_ADDRESS, TRANSPARENT_PORT)
            link.raise_the_firewall()
            for port in (PROXY_PORT, DNS_PORT, AGENT_ANNOUNCE_PORT):
                assert await link.guest_reaches(GATEWAY_ADDRESS, port), port
            for port in (9999, TRANSPARENT_PORT):
                assert not await link.guest_reaches(GATEWAY_ADDRESS, port), port

    asyncio.run(scenario())


def test_fake_addresses_end_at_the_transparent_listener_which_sees_what_was_asked() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            for address, port in (("198.18.0.1", 443), ("198.19.255.254", 22)):
                assert await link.guest_reaches(address, port)
                connection, _ = link.listeners.transparent.accept()
                with connection:
                    asked = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
                assert asked[2:8] == port.to_bytes(2, "big") + socket.inet_aton(address)
            assert not await link.guest_reaches("198.20.0.1", 443)

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["203.0.113.7", "169.254.169.254", "10.77.0.1", "100.64.77.1"])
def test_the_hosts_own_addresses_are_out_of_reach(address: str) -> None:
    async def scenario() -> None:
        with host_addresses(f"{address}/32"), socket.create_server((address, 0)) as listener:
            port = listener.getsockname()[1]
            with socket.create_connection((address, port), timeout=2):
                listener.accept()[0].close()
            listener.setblocking(False)
            async with hostile_link() as link:
                assert not await link.guest_reaches(address, port)
                assert not await reaches(link.gateway, address, port)
                # Not by its own firewall alone: without it there is no route either.
                link.lower_the_firewall()
                assert not await link.guest_reaches(address, port)
            with pytest.raises(BlockingIOError):
                listener.accept()

    asyncio.run(scenario())


def test_everything_that_listens_on_the_host_is_out_of_reach() -> None:
    async def scenario() -> None:
        with host_addresses("203.0.113.7/32"), socket.create_server(("0.0.0.0", 0)) as everywhere:
            port = everywhere.getsockname()[1]
            for address in ("127.0.0.1", "203.0.113.7"):
                with socket.create_connection((address, port), timeout=2):
                    everywhere.accept()[0].close()
            everywhere.setblocking(False)
            async with hostile_link() as link:
                for address in ("127.0.0.1", "203.0.113.7", GATEWAY_ADDRESS, "0.0.0.0"):
                    assert not await link.guest_reaches(address, port), address
            with pytest.raises(BlockingIOError):
                everywhere.accept()

    asyncio.run(scenario())


def test_another_desktop_is_out_of_reach() -> None:
    async def scenario() -> None:
        async with hostile_link() as attacker, hostile_link() as victim:
            theirs = await victim.listen(victim.guest, GUEST_ADDRESS, AGENT_PORT)
            assert await reaches(victim.gateway, GUEST_ADDRESS, AGENT_PORT)  # their own keeper gets there
            theirs.accept()[0].close()
            # The address is the same in every namespace: it leads an attacker to itself.
            assert not await attacker.guest_reaches(GUEST_ADDRESS, AGENT_PORT)
            assert not await reaches(attacker.gateway, GUEST_ADDRESS, AGENT_PORT)
            assert await attacker.guest_reaches(GATEWAY_ADDRESS, PROXY_PORT)
            attacker.listeners.proxy.accept()[0].close()
            with pytest.raises(BlockingIOError):
                victim.listeners.proxy.accept()
            with pytest.raises(BlockingIOError):
                theirs.accept()

    asyncio.run(scenario())


def test_the_gateways_side_reaches_only_the_agent_and_vnc() -> None:
    """A gateway taken over from inside must not scan its guest, nor a guest lure it."""

    async def scenario() -> None:
        async with hostile_link() as link:
            for port in (AGENT_PORT, VNC_PORT, 22):
                await link.listen(link.guest, GUEST_ADDRESS, port)
            assert await reaches(link.gateway, GUEST_ADDRESS, AGENT_PORT)
            assert await reaches(link.gateway, GUEST_ADDRESS, VNC_PORT)
            assert not await reaches(link.gateway, GUEST_ADDRESS, 22)
            link.lower_the_firewall()
            assert await reaches(link.gateway, GUEST_ADDRESS, 22)

    asyncio.run(scenario())


def test_udp_passes_to_the_gateways_dns_only() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            other = await link.gateway.bind_udp(GATEWAY_ADDRESS, 9999)
            link.opened.append(other)
            await link.send(_udp, b"x", (GATEWAY_ADDRESS, 9999))
            await link.send(_udp, b"x", ("198.18.0.1", DNS_PORT))
            await link.send(_udp, b"x", ("198.18.0.1", 443))
            await link.mark()
            assert await link.next_datagram() == (b"honest", GUEST_ADDRESS)
            with pytest.raises(BlockingIOError):
                other.recv(16)
            link.lower_the_firewall()
            await link.send(_udp, b"now", (GATEWAY_ADDRESS, 9999))
            async with asyncio.timeout(30):
                assert await asyncio.get_running_loop().sock_recv(other, 16) == b"now"

    asyncio.run(scenario())


def test_ping_is_dead() -> None:
    async def scenario() -> None:
        async with hostile_link() as link:
            ping = ["ping", "-c", "1", "-W", "1", GATEWAY_ADDRESS]
            with pytest.raises(subprocess.CalledProcessError):
                link.in_guest(*ping)
            link.lower_the_firewall()
            link.in_gateway("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=0")
            link.in_guest(*ping)

    asyncio.run(scenario())


def test_nothing_is_forwarded() -> None:
    """Even with a second device and forwarding switched on, the firewall lets nothing through."""

    async def scenario() -> None:
        async with hostile_link() as link:
            link.in_gateway("ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1")
            link.in_gateway("ip", "link", "set", "out1", "up")
            link.in_gateway("ip", "addr", "add", "203.0.113.1/24", "dev", "out0")
            link.in_gateway("ip", "link", "set", "out0", "up")
            link.in_gateway("sysctl", "-qw", "net.ipv4.ip_forward=1")

            def sent() -> int:
                shown = link.in_gateway("ip", "-json", "-stats", "link", "show", "out0").stdout
                return json.loads(shown)[0]["stats64"]["tx"]["packets"]

            before = sent()
            await link.send(_udp, b"x", ("203.0.113.9", 9))
            await link.mark()
            assert await link.next_datagram() == (b"honest", GUEST_ADDRESS)
            assert sent() == before
            link.lower_the_firewall()
            link.in_gateway("ip", "neigh", "add", "203.0.113.9", "lladdr", "02:00:00:00:00:09", "dev", "out0")
            await link.send(_udp, b"x", ("203.0.113.9", 9))
            await link.mark()
            assert await link.next_datagram() == (b"honest", GUEST_ADDRESS)
            assert sent() == before + 1

    asyncio.run(scenario())


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
