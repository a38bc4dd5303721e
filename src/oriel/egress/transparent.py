"""Captured TCP: a program that ignores proxies connected to an address; find out what it meant."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network

from oriel.egress.channel import SocketChannel
from oriel.egress.failure import DeniedError, UnreachableError, UpstreamError
from oriel.egress.gateway import Gateway
from oriel.egress.policy import Reason
from oriel.egress.target import Target
from oriel.egress.tunnel import run_tunnel
from oriel.model.link import FAKE_NETWORK

__all__ = ["original_target", "serve_transparent"]

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
FAKE = IPv4Network(FAKE_NETWORK)


async def serve_transparent(gateway: Gateway, channel: SocketChannel) -> None:
    """Serve one captured connection. What cannot be reached is reset: there is no protocol to say why."""
    try:
        flow = gateway.admit("transparent", channel)
    except DeniedError:
        channel.abort()
        return
    try:
        way = await gateway.reach(original_target(gateway, channel.sock), flow)
        await run_tunnel(flow, way.channel)
    except (DeniedError, UpstreamError, UnreachableError, OSError):
        flow.abort()  # counted and reported where it was found out
    finally:
        flow.close()


def original_target(gateway: Gateway, sock: socket.socket) -> Target:
    """Where the guest connected to. DeniedError if it was this port itself, or a fake address for which
    no name stands; an address outside the fake network stands for itself."""
    try:
        raw = sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    except OSError as error:  # not captured: connected to directly
        raise gateway.denied(Reason.UNMAPPED, "", detail="this port is not for direct use") from error
    port, packed = struct.unpack_from(">2xH4s", raw)
    address = IPv4Address(packed)
    if (str(address), port) == sock.getsockname()[:2]:
        raise gateway.denied(Reason.UNMAPPED, "", detail="this port is not for direct use")
    if address not in FAKE:
        return Target(address, port)
    name = gateway.names.name_of(address)
    if name is None:
        raise gateway.denied(Reason.UNMAPPED, f"{address}:{port}")
    return Target(name, port)
