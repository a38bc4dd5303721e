"""Desktops' links with a hostile guest: root in the container's namespace, with every capability.

That is more than a container's root has, and as much as a virtual machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from oriel.host.namespaces import NetnsSockets
from oriel.host.process import in_netns
from oriel.model.errors import UnavailableError
from oriel.model.link import DNS_PORT, GATEWAY_ADDRESS
from oriel.model.spec import Runtime
from oriel.network.firewall import ruleset
from oriel.network.link import GatewaySockets, make_link, open_gateway_sockets, remove_link

SHORT_S = 1.0  # on a veth an answer takes microseconds: what has not come by then was dropped


@dataclass
class HostileLink:
    """A link, seen from both of its ends."""

    gateway: NetnsSockets
    guest: NetnsSockets
    listeners: GatewaySockets
    opened: list[socket.socket] = field(default_factory=list)

    def in_guest(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        return run_in(self.guest.netns, *argv)

    def in_gateway(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        return run_in(self.gateway.netns, *argv)

    def lower_the_firewall(self) -> None:
        """So that a test can show that without it the attack would succeed."""
        self.in_gateway("nft", "flush", "ruleset")

    def raise_the_firewall(self) -> None:
        subprocess.run(
            in_netns(self.gateway.netns, ["nft", "-f", "-"]), input=ruleset().encode(), check=True, timeout=10
        )

    async def listen(self, side: NetnsSockets, address: str, port: int) -> socket.socket:
        """A listener of the test's own; closed with the link."""
        sock = await side.listen_tcp(address, port)
        self.opened.append(sock)
        return sock

    async def guest_reaches(self, address: str, port: int) -> bool:
        return await reaches(self.guest, address, port)

    async def send(self, make: Callable[[], socket.socket], data: bytes, to: tuple[str, int]) -> None:
        """One datagram from a socket made in the guest."""

        def job() -> None:
            with make() as sock:
                sock.sendto(data, to)

        await self.guest.call(job)

    async def frame(self, frame: bytes) -> None:
        """One Ethernet frame from the guest, exactly as given."""

        def job() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                sock.bind(("host0", 0))
                sock.send(frame)

        await self.guest.call(job)

    async def next_datagram(self) -> tuple[bytes, str]:
        """The next datagram at the gateway's DNS port, and who it says it is from."""
        async with asyncio.timeout(30):
            data, sender = await asyncio.get_running_loop().sock_recvfrom(self.listeners.dns_udp, 2048)
        return data, sender[0]

    async def mark(self) -> None:
        """An honest datagram: what the guest sent before it has arrived before it, or never will."""
        udp = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # noqa: E731
        await self.send(udp, b"honest", (GATEWAY_ADDRESS, DNS_PORT))


@contextlib.asynccontextmanager
async def hostile_link() -> AsyncIterator[HostileLink]:
    desktop_id = "d-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(remove_link, desktop_id)
        link = await make_link(desktop_id, Runtime.CONTAINER, 0)
        assert link.guest_netns is not None
        gateway = await NetnsSockets.open(link.netns)
        stack.callback(gateway.close)
        guest = await NetnsSockets.open(link.guest_netns)
        stack.callback(guest.close)
        listeners = await open_gateway_sockets(gateway)
        stack.callback(listeners.close)
        made = HostileLink(gateway, guest, listeners)
        stack.callback(lambda: [sock.close() for sock in made.opened])
        yield made


async def reaches(side: NetnsSockets, address: str, port: int) -> bool:
    """Whether a TCP connection from there comes about."""
    try:
        _, writer = await side.connect(address, port, deadline_s=SHORT_S)
    except UnavailableError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


def run_in(netns: Path, *argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(in_netns(netns, argv), check=True, capture_output=True, timeout=10)


@contextlib.contextmanager
def host_addresses(*addresses: str) -> AsyncIterator[None]:
    """Addresses of the test's own on this host, on a device that leads only to its own other end."""
    device = "orielx"
    subprocess.run(["ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}-end"], check=True)
    try:
        for address in addresses:
            subprocess.run(
                ["ip", "addr", "add", address, "dev", device, *["nodad"] * (":" in address)], check=True
            )
        for end in (device, f"{device}-end"):
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "del", device], check=True)
