"""From a conversation to plain bytes both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oriel.egress.channel import Channel, SocketChannel
from oriel.egress.flow import Flow

__all__ = ["run_tunnel"]


async def run_tunnel(flow: Flow, upstream: Channel) -> None:
    """Relay between the flow's guest and `upstream`.

    Between two sockets this returns at once and callbacks go on with it. With TLS to the upstream it
    returns when both directions ended; OSError if one broke.
    """
    flow.upstream = upstream
    if isinstance(upstream, SocketChannel):
        flow.start_relay(upstream)
        return
    try:
        async with asyncio.TaskGroup() as group:
            for source, sink, count in (
                (flow.guest, upstream, flow.count_out),
                (upstream, flow.guest, flow.count_in),
            ):
                pump = group.create_task(_pump(source, sink, count))
                pump.add_done_callback(lambda _: flow.mark_half_closed())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _pump(source: Channel, sink: Channel, count: Callable[[int], float]) -> None:
    while data := await source.read():
        delay = count(len(data))
        await sink.write(data)
        if delay:
            await asyncio.sleep(delay)
    await sink.write_eof()
