"""The address the world sees: asked for when the way out changes, and every now and then."""

from __future__ import annotations

import asyncio
import contextlib

from oriel.egress.check import check_upstream
from oriel.egress.gateway import Gateway
from oriel.model.egress import EgressMode

__all__ = ["watch_exit"]

EVERY_S = 600.0
AGAIN_S = 30.0  # while it is not known


async def watch_exit(gateway: Gateway) -> None:
    """Until cancelled. An `exit` event tells each address that is another than the last one told."""
    told = ""
    while True:
        gateway.reconfigured.clear()
        spec = gateway.spec
        if spec.echo_url and spec.mode is not EgressMode.NONE:
            await check_upstream(gateway, {"echo_url": spec.echo_url})
        address = gateway.ledger.exit_ip
        if address and gateway.spec is spec:
            way = f"{gateway.way_out} {address}"
            if way != told:
                told = way
                gateway.emit({"event": "exit", "address": address, "via": gateway.way_out})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S if address else AGAIN_S):
                await gateway.reconfigured.wait()
