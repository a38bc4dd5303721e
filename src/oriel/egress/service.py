"""The gateway's side of the control pair (see docs/internals.md, "The gateway's control")."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from oriel.egress.check import check_upstream
from oriel.egress.gateway import Gateway
from oriel.egress.ledger import Budget
from oriel.egress.listener import log_unexpected
from oriel.model.egress import EgressSpec
from oriel.model.errors import Fault, InvalidError, NotFoundError, OrielError, UnavailableError
from oriel.model.wire import read_line

__all__ = ["Outbox", "serve_control"]

EVENTS_PER_SECOND = 100  # a guest that hammers at closed doors must not flood its keeper
MAX_UNSENT = 1 << 20  # bytes; beyond it events are counted, not kept


class Outbox:
    """Events and answers on their way to the keeper. Before a keeper is connected, events are dropped."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._budget = Budget(EVENTS_PER_SECOND)
        self._suppressed = 0

    def connect(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event now, or count it as `suppressed` in the next one."""
        if self._writer is None:
            return
        waiting = self._writer.transport.get_write_buffer_size()
        # What an upstream does is rare and matters, and an access log is to be whole; denials are limited.
        limited = event["event"] == "denied" and not self._budget.try_take(time.monotonic())
        if limited or waiting > MAX_UNSENT:
            self._suppressed += 1
            return
        if self._suppressed:
            event = event | {"suppressed": self._suppressed}
            self._suppressed = 0
        self.send(event)

    def send(self, line: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


async def serve_control(
    gateway: Gateway, reader: asyncio.StreamReader, outbox: Outbox, group: asyncio.TaskGroup
) -> None:
    """Answer requests until the keeper closes its end. WireError if it talks nonsense."""
    while (request := await read_line(reader)) is not None:
        if request.get("verb") == "check":
            group.create_task(_answer(gateway, request, outbox))  # it takes a while
        else:
            await _answer(gateway, request, outbox)


async def _answer(gateway: Gateway, request: Mapping[str, Any], outbox: Outbox) -> None:
    number = request.get("id")
    try:
        result = await _perform(gateway, request.get("verb"), request.get("args") or {})
        outbox.send({"id": number, "ok": True, "result": result})
    except OrielError as error:
        outbox.send({"id": number, "ok": False, "error": error.to_wire()})
    except Exception as error:  # the boundary: neutral to the caller, and never with the text of a value
        log_unexpected("a control request failed unexpectedly", error)
        unknown = OrielError("the gateway failed at this", hint="see the keeper's log")
        outbox.send({"id": number, "ok": False, "error": unknown.to_wire()})


async def _perform(gateway: Gateway, verb: object, args: object) -> dict[str, Any]:
    if not isinstance(args, dict):
        raise InvalidError.of([Fault("args", "must be an object")])
    if verb == "configure":
        gateway.configure(EgressSpec.from_wire(args))
        return {}
    if verb == "counters":
        return gateway.counters()
    if verb == "check":
        return await check_upstream(gateway, args)
    if isinstance(verb, str) and verb.startswith("media_"):
        return await _media(gateway, verb, args)
    raise NotFoundError("no such verb here", hint="verbs: configure, counters, check, media_…")


async def _media(gateway: Gateway, verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
    relay = gateway.media
    if relay is None:
        raise UnavailableError("this gateway has no live view")
    match verb, args:
        case "media_open", {"addresses": [*addresses], "port": int(port)}:
            return await relay.open([str(address) for address in addresses], port)
        case "media_restart", {"session": str(session)}:
            return relay.restart(session)
        case "media_close", {"session": str(session)}:
            relay.end(session)
            return {}
    raise InvalidError.of([Fault("args", f"not those of {verb}")])
