"""A desktop's link: a network namespace without uplink, its device and its firewall."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from oriel.host import process
from oriel.host.layout import netns_path
from oriel.host.namespaces import NetnsSockets, create_netns, delete_netns
from oriel.model.errors import HostError
from oriel.model.link import (
    AGENT_ANNOUNCE_PORT,
    DNS_PORT,
    GATEWAY_ADDRESS,
    MEDIA_PORT,
    PROXY_PORT,
    TRANSPARENT_PORT,
    Link,
)
from oriel.model.spec import Runtime
from oriel.network import addresses, firewall

__all__ = ["GatewaySockets", "link_of", "make_link", "open_gateway_sockets", "remove_link"]

DEADLINE_S = 60  # an emulated host loads its modules meanwhile


@dataclass(frozen=True)
class GatewaySockets:
    """What listens on 192.168.0.1 inside the namespace, non-blocking: five for the gateway,
    one for the keeper.

    `transparent` takes the connections to fake addresses; SO_ORIGINAL_DST tells what was asked for.
    """

    proxy: socket.socket
    dns_udp: socket.socket
    dns_tcp: socket.socket
    transparent: socket.socket
    media: socket.socket
    announce: socket.socket

    def close(self) -> None:
        for item in fields(self):
            getattr(self, item.name).close()


def link_of(desktop_id: str, runtime: Runtime) -> Link:
    """The link as `make_link` makes it: all of it follows from the id. For re-adoption."""
    if runtime is Runtime.CONTAINER:
        guest = netns_path(desktop_id, guest=True)
        return Link(netns=netns_path(desktop_id), device="", guest_netns=guest)
    return Link(netns=netns_path(desktop_id), device=addresses.GATEWAY_DEVICE)


async def make_link(desktop_id: str, runtime: Runtime, owner_uid: int) -> Link:
    """Make the namespace(s), device and firewall, in place of whatever was left under the same id.

    `owner_uid`: who may open the tap (VMs). Nothing passes before the firewall stands. Raises HostError
    or LaunchError; then nothing is left.
    """
    link = link_of(desktop_id, runtime)
    try:
        await remove_link(desktop_id)
        await create_netns(link.netns)
        await _write_sysctls(link.netns, addresses.SYSCTLS)
        if link.guest_netns is None:
            await _ip(link.netns, addresses.tap_batch(owner_uid))
        else:
            await create_netns(link.guest_netns)
            await _write_sysctls(link.guest_netns, addresses.GUEST_SYSCTLS)
            await _ip(link.netns, addresses.veth_batch(link.guest_netns.name))
        await _apply_firewall(link.netns)
        if link.guest_netns is not None:
            await _ip(link.guest_netns, addresses.guest_batch())
    except BaseException:
        await remove_link(desktop_id)
        raise
    return link


async def remove_link(desktop_id: str) -> None:
    """Take the namespaces away, with the devices in them. Idempotent, also after a torn `make_link`.

    The kernel frees each when its last process and socket has gone: end the machine and the gateway too.
    """
    for guest in (True, False):
        delete_netns(netns_path(desktop_id, guest=guest))


async def open_gateway_sockets(sockets: NetnsSockets) -> GatewaySockets:
    """Open the gateway's listening sockets. Raises HostError if a former gateway still holds them."""
    opened: dict[str, socket.socket] = {}
    try:
        for name, port in (
            ("proxy", PROXY_PORT),
            ("dns_tcp", DNS_PORT),
            ("transparent", TRANSPARENT_PORT),
            ("announce", AGENT_ANNOUNCE_PORT),
        ):
            opened[name] = await sockets.listen_tcp(GATEWAY_ADDRESS, port)
        opened["dns_udp"] = await sockets.bind_udp(GATEWAY_ADDRESS, DNS_PORT)
        opened["media"] = await sockets.bind_udp(GATEWAY_ADDRESS, MEDIA_PORT)
    except BaseException:
        for sock in opened.values():
            sock.close()
        raise
    return GatewaySockets(**opened)


async def _ip(netns: Path, batch: str) -> None:
    argv = ["ip", "-netns", netns.name, "-batch", "-"]
    await process.run(argv, stdin=batch.encode(), deadline_s=DEADLINE_S)


async def _apply_firewall(netns: Path) -> None:
    argv = process.in_netns(netns, ["nft", "-f", "-"])
    await process.run(argv, stdin=firewall.ruleset().encode(), deadline_s=DEADLINE_S)


async def _write_sysctls(netns: Path, values: Mapping[str, str]) -> None:
    """A thread sees below /proc/sys/net the namespace it has entered."""

    def write() -> None:
        for name, value in values.items():
            path = Path("/proc/sys/net") / name
            if name.startswith("ipv6/") and not path.exists():
                continue  # a kernel without IPv6
            try:
                path.write_text(value)
            except OSError as error:
                raise HostError(f"cannot set {path} in {netns.name}: {error.strerror}") from error

    sockets = await NetnsSockets.open(netns)
    try:
        await sockets.call(write)
    finally:
        sockets.close()
