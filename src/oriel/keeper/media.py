"""`media`: a session of the live view's relay, for as long as whoever asked for it stays connected."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from oriel.egress.control import GatewayClient
from oriel.keeper.gateway import Gateway
from oriel.model import wire
from oriel.model.errors import Fault, InvalidError, UnavailableError

__all__ = ["serve_media"]

MOST_ADDRESSES = 8
LAST_PORT = 65535


async def serve_media(call: wire.Call, gateway: Gateway, *, slot: int) -> None:
    """The answer has the session's port and credentials; each line `{}` afterwards asks for new ones.

    The port is `port` + `slot`, so that each desktop of a host has its own; 0 for any.
    """
    addresses, port = _parse(call.args)
    client = gateway.client()
    session = await client.media_open(addresses, port and port + slot)
    name = session.pop("session")
    try:
        await call.answer(session)
        await _until_gone(_restarts(call, client, name), client)
    finally:
        with contextlib.suppress(UnavailableError):  # a gateway that is gone has no sessions
            await client.media_close(name)


async def _restarts(call: wire.Call, client: GatewayClient, name: str) -> None:
    while await wire.read_line(call.reader) is not None:
        await wire.write_line(call.writer, await client.media_restart(name))


async def _until_gone(work: Any, client: GatewayClient) -> None:
    """`work`, or until the gateway has ended, and every session with it."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(client.closed())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _parse(args: Mapping[str, Any]) -> tuple[list[str], int]:
    faults: list[Fault] = []
    addresses, port = args.get("addresses"), args.get("port")
    if not isinstance(addresses, list) or not 1 <= len(addresses) <= MOST_ADDRESSES:
        faults.append(Fault("addresses", f"must be a list of 1 to {MOST_ADDRESSES} addresses to listen on"))
    else:
        for address in addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                faults.append(Fault("addresses", f"{address!r} is no address"))
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= LAST_PORT - 1024:
        faults.append(Fault("port", "must be a port, or 0 for any"))
    if faults:
        raise InvalidError.of(faults)
    assert isinstance(addresses, list)  # noqa: S101 - checked above
    assert isinstance(port, int)  # noqa: S101 - checked above
    return addresses, port
