"""The explicit proxy on 3128: CONNECT tunnels and plain HTTP/1.1."""

from __future__ import annotations

import asyncio

from oriel.egress.channel import Channel, HeadTooLargeError, SocketChannel, read_head
from oriel.egress.failure import DeniedError, UnreachableError, UpstreamError
from oriel.egress.flow import Flow
from oriel.egress.forward import Forwarder
from oriel.egress.gateway import Gateway
from oriel.egress.head import (
    MAX_HEAD,
    BadTargetError,
    Body,
    HeadError,
    RequestHead,
    parse_request,
    target_of,
)
from oriel.egress.pages import error_response
from oriel.egress.policy import Reason
from oriel.egress.tunnel import run_tunnel

__all__ = ["serve_explicit"]

FIRST_HEAD_S = 20.0  # from being accepted, so that a slow writer cannot hold a place for long
NEXT_HEAD_S = 120.0  # an idle kept connection
LINGER_S = 2.0

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def serve_explicit(gateway: Gateway, channel: SocketChannel) -> None:
    """Serve one connection of the guest until it ends or becomes a tunnel."""
    try:
        flow = gateway.admit("proxy", channel)
    except DeniedError:
        # No page: whoever is over the limit is not to hold even more of it.
        channel.abort()
        return
    try:
        await _conversation(gateway, flow)
    except OSError:
        flow.abort()  # the guest or its peer went away in mid-sentence
    finally:
        flow.close()


async def _conversation(gateway: Gateway, flow: Flow) -> None:
    forwarder = Forwarder(gateway, flow)
    patience = FIRST_HEAD_S
    while True:
        head: RequestHead | None = None
        try:
            async with asyncio.timeout(patience):
                data = await read_head(flow.guest, MAX_HEAD)
            if not data:
                return
            head = parse_request(data)
            if head.method == b"CONNECT":
                await _connect(gateway, flow, head)
                return
            upgraded = await forwarder.exchange(head)
            if upgraded is not None:
                await run_tunnel(flow, upgraded.channel)
                return
            gateway.report_access(flow)
        except TimeoutError:
            return
        except (HeadError, HeadTooLargeError) as error:
            denied = _as_denial(gateway, error)
            await _refuse(flow.guest, denied, denied.status, head, quiet=forwarder.began_answering)
            return
        except (DeniedError, UpstreamError, UnreachableError) as refusal:
            await _refuse(flow.guest, refusal, refusal.status, head, quiet=forwarder.began_answering)
            return
        if not forwarder.keeps_alive:
            return
        patience = NEXT_HEAD_S


async def _connect(gateway: Gateway, flow: Flow, head: RequestHead) -> None:
    if head.framing.body is not Body.NONE:
        raise HeadError("a CONNECT has no body")
    way = await gateway.reach(target_of(head.target), flow)
    flow.upstream = way.channel
    await flow.guest.write(ESTABLISHED)
    await run_tunnel(flow, way.channel)


def _as_denial(gateway: Gateway, error: HeadError | HeadTooLargeError) -> DeniedError:
    if isinstance(error, BadTargetError):
        return gateway.denied(Reason.BAD_TARGET, error.authority, detail=str(error), status=error.status)
    if isinstance(error, HeadTooLargeError):
        return gateway.denied(Reason.BAD_REQUEST, "", detail="the head is too large", status=431)
    return gateway.denied(Reason.BAD_REQUEST, "", detail=str(error), status=error.status)


async def _refuse(
    channel: Channel,
    error: DeniedError | UpstreamError | UnreachableError,
    status: int,
    head: RequestHead | None,
    *,
    quiet: bool = False,
) -> None:
    if quiet:
        channel.abort()  # a cut answer must not look like a whole one
        return
    accepts = [] if head is None else [value for name, value in head.headers if name.lower() == b"accept"]
    body = head is None or head.method != b"HEAD"
    html = any(b"text/html" in value for value in accepts)
    await channel.write(error_response(error, status, html=html, body=body))
    await _linger(channel)


async def _linger(channel: Channel) -> None:
    """Let the guest read the page: closing with its bytes unread would send RST and lose it."""
    await channel.write_eof()
    try:
        async with asyncio.timeout(LINGER_S):
            while await channel.read():
                pass
    except TimeoutError:
        return
