"""Opening connections: to an address, to an upstream proxy, and through one to a target."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from oriel.egress.channel import (
    Channel,
    HeadTooLargeError,
    SocketChannel,
    TlsChannel,
    read_exactly,
    read_head,
    reset,
)
from oriel.egress.failure import Fault, UnreachableError, UpstreamError
from oriel.egress.head import MAX_HEAD, HeadError, encode_head, parse_response
from oriel.egress.resolver import Resolver
from oriel.egress.target import Address, Target
from oriel.egress.upstream import Upstream, UpstreamKind

if TYPE_CHECKING:
    import ssl

__all__ = ["connect_address", "connect_any", "open_tunnel", "open_upstream", "tls_context"]

CONNECT_S = 10.0  # TCP, per address
TLS_S = 10.0
TUNNEL_S = 30.0  # an upstream's answer: it has to reach the target itself
ACCOUNT_STATUSES = (401, 402, 407)  # the upstream speaks of our credentials or plan, not of the target

TlsContext = Callable[[], "ssl.SSLContext"]


def tls_context(extra_ca: str = "") -> ssl.SSLContext:
    """The system's certificates, plus `extra_ca` (PEM). ssl.SSLError if that is none."""
    import ssl

    context = ssl.create_default_context()
    if extra_ca:
        context.load_verify_locations(cadata=extra_ca)
    return context


async def connect_address(address: Address, port: int, *, deadline_s: float = CONNECT_S) -> SocketChannel:
    """TCP to exactly this address. OSError or TimeoutError; nothing stays open then."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        tune(sock)
        async with asyncio.timeout(deadline_s):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        reset(sock)
        raise
    return SocketChannel(sock)


def tune(sock: socket.socket) -> None:
    """No delay for small writes; a vanished peer is noticed within some three minutes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 90)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)


async def connect_any(addresses: tuple[Address, ...], port: int) -> SocketChannel:
    """The first of several addresses that answers. The last one's OSError or TimeoutError."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):  # TimeoutError is one
            return await connect_address(address, port, deadline_s=CONNECT_S / 2)
    return await connect_address(addresses[-1], port)


async def open_upstream(upstream: Upstream, resolver: Resolver, context: TlsContext) -> Channel:
    """TCP, and TLS if it is https, to the proxy itself. UpstreamError."""
    try:
        addresses = await resolver.resolve(upstream.host)
    except OSError as error:
        raise UpstreamError(Fault.NAME, upstream.label) from error
    try:
        channel = await connect_any(addresses, upstream.port)
    except TimeoutError as error:
        raise UpstreamError(Fault.TIMEOUT, upstream.label) from error
    except OSError as error:
        raise UpstreamError(Fault.REFUSED, upstream.label) from error
    if upstream.kind is not UpstreamKind.HTTPS:
        return channel
    try:
        return await start_tls(channel, context(), str(upstream.host))
    except TimeoutError as error:
        raise UpstreamError(Fault.TIMEOUT, upstream.label) from error
    except OSError as error:  # ssl.SSLError is one
        raise UpstreamError(Fault.TLS, upstream.label) from error


async def start_tls(channel: Channel, context: ssl.SSLContext, name: str) -> TlsChannel:
    """TLS over `channel`, which is aborted on failure. OSError (ssl.SSLError) or TimeoutError."""
    tls = TlsChannel(channel, context, name)
    try:
        async with asyncio.timeout(TLS_S):
            await tls.handshake()
    except BaseException:
        channel.abort()
        raise
    return tls


async def open_tunnel(upstream: Upstream, target: Target, resolver: Resolver, context: TlsContext) -> Channel:
    """A connection to `target` through `upstream`, ready for its bytes.

    UpstreamError if the proxy is at fault, UnreachableError if it says that the target is.
    """
    channel = await open_upstream(upstream, resolver, context)
    try:
        async with asyncio.timeout(TUNNEL_S):
            if upstream.kind is UpstreamKind.SOCKS5:
                await _socks_connect(channel, upstream, target)
            else:
                await _http_connect(channel, upstream, target)
    except BaseException as error:
        channel.abort()
        if isinstance(error, TimeoutError):
            raise UpstreamError(Fault.TIMEOUT, upstream.label) from error
        if isinstance(error, OSError):
            raise UpstreamError(Fault.CLOSED, upstream.label) from error
        if isinstance(error, HeadError | HeadTooLargeError):
            raise UpstreamError(Fault.PROTOCOL, upstream.label) from error
        raise
    return channel


async def _http_connect(channel: Channel, upstream: Upstream, target: Target) -> None:
    authority = target.authority.encode("ascii")
    headers = [(b"Host", authority)]
    if upstream.has_credentials:
        headers.append((b"Proxy-Authorization", upstream.basic().reveal().encode("ascii")))
    await channel.write(encode_head(b"CONNECT " + authority + b" HTTP/1.1", headers))
    head = await read_head(channel, MAX_HEAD)
    if not head:
        raise UpstreamError(Fault.CLOSED, upstream.label)
    status = parse_response(head).status
    if status in ACCOUNT_STATUSES:
        raise UpstreamError(Fault.AUTHENTICATION, upstream.label)
    if not 200 <= status < 300:
        raise UnreachableError(target.authority, f"the proxy answered {status}", forbidden=status == 403)


SOCKS_FORBIDDEN = 2
_SOCKS_REPLIES = {
    1: "the proxy failed", 2: "the proxy's rules forbid it", 3: "network unreachable",
    4: "host unreachable", 5: "connection refused", 6: "timed out on the way",
    7: "the proxy cannot make such connections", 8: "the proxy does not know such addresses",
}  # fmt: skip


async def _socks_connect(channel: Channel, upstream: Upstream, target: Target) -> None:
    """RFC 1928 and 1929. Only the method we mean is offered: no answer can talk us out of it."""
    method = 2 if upstream.has_credentials else 0
    await channel.write(bytes((5, 1, method)))
    version, chosen = await read_exactly(channel, 2)
    if version != 5:
        raise UpstreamError(Fault.PROTOCOL, upstream.label)
    if chosen != method:
        raise UpstreamError(Fault.AUTHENTICATION, upstream.label)
    if upstream.has_credentials:
        user, password = upstream.username.encode(), upstream.password.reveal().encode()
        await channel.write(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        if (await read_exactly(channel, 2))[1] != 0:
            raise UpstreamError(Fault.AUTHENTICATION, upstream.label)
    await channel.write(b"\x05\x01\x00" + _socks_address(target))
    version, reply, _, kind = await read_exactly(channel, 4)
    if version != 5 or kind not in (1, 3, 4):
        raise UpstreamError(Fault.PROTOCOL, upstream.label)
    if reply != 0:
        detail = _SOCKS_REPLIES.get(reply, f"SOCKS reply {reply}")
        raise UnreachableError(target.authority, detail, forbidden=reply == SOCKS_FORBIDDEN)
    length = {1: 4, 4: 16}.get(kind) or (await read_exactly(channel, 1))[0]
    await read_exactly(channel, length + 2)


def _socks_address(target: Target) -> bytes:
    port = struct.pack(">H", target.port)
    if isinstance(target.host, IPv4Address):
        return b"\x01" + target.host.packed + port
    if isinstance(target.host, IPv6Address):
        return b"\x04" + target.host.packed + port
    name = target.host.encode("ascii")
    return b"\x03" + bytes((len(name),)) + name + port
