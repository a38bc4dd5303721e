"""One connection of the guest, from being accepted to being closed, whatever is behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from oriel.egress.channel import Channel, SocketChannel
from oriel.egress.relay import Relay
from oriel.egress.target import Address, Target

__all__ = ["Flow"]

Count = Callable[[int], float]


class Flow:
    """Owns the guest's channel, and the upstream one once there is one. Ends exactly once: by `close`,
    `abort`, or with its relay."""

    __slots__ = (
        "_count_in", "_count_out", "_on_end", "_task", "address", "bytes_in", "bytes_out", "guest",
        "half_closed", "last_active", "over", "relay", "resolving", "started", "target", "unreported",
        "upstream", "way_in",
    )  # fmt: skip

    def __init__(
        self,
        way_in: str,
        guest: SocketChannel,
        count_in: Count,
        count_out: Count,
        on_end: Callable[[Flow], None],
    ) -> None:
        self.way_in = way_in
        self.guest = guest
        self.upstream: Channel | None = None
        self.target: Target | None = None  # of the last request, also while the next is awaited
        self.address: Address | None = None  # what we are connected to on its behalf, in direct mode
        self.resolving = False  # a direct connection is being made, its address not yet decided
        self.unreported = False  # something to say in the access log
        self.relay: Relay | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.started = self.last_active = time.monotonic()
        self.over = False
        self.half_closed = False
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._count_in = count_in
        self._count_out = count_out
        self._on_end = on_end

    def count_in(self, count: int) -> float:
        """`count` bytes go to the guest. Seconds to wait before reading more."""
        self.bytes_in += count
        self.last_active = time.monotonic()
        return self._count_in(count)

    def count_out(self, count: int) -> float:
        """`count` bytes came from the guest. Seconds to wait before reading more."""
        self.bytes_out += count
        self.last_active = time.monotonic()
        return self._count_out(count)

    def start_relay(self, upstream: SocketChannel) -> None:
        """Hand both sockets over to a relay; from here on the flow needs no task."""
        self.relay = Relay(
            self.guest,
            upstream,
            count_out=self.count_out,
            count_in=self.count_in,
            on_end=self._end,
            on_half_closed=self.mark_half_closed,
        )
        self._task = None
        self.relay.start()

    def mark_half_closed(self) -> None:
        """One direction has ended: the other must not stay for long without a word."""
        self.half_closed = True

    def close(self) -> None:
        """Close both sides; what was written is still sent. Nothing once the relay has taken over."""
        if self.relay is None:
            self._close(abort=False)

    def abort(self) -> None:
        """Close both sides at once, and end whoever works for this flow."""
        if self.relay is not None:
            self.relay.abort()
            return
        self._close(abort=True)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _close(self, *, abort: bool) -> None:
        for channel in (self.guest, self.upstream):
            if channel is not None:
                channel.abort() if abort else channel.close()
        self._end()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._on_end(self)

    def head_for(self, target: Target, *, kept: bool = False) -> None:
        """A request for `target` begins; `kept`: over the upstream connection that is already there."""
        self.target = target
        self.unreported = True
        if not kept:
            self.address = None

    def take_access_event(self) -> dict[str, Any] | None:
        """Who went where and how much since the last one, never what. None if nobody went anywhere."""
        if self.target is None or not self.unreported:
            return None
        event: dict[str, Any] = {
            "event": "access", "way_in": self.way_in, "host": str(self.target.host), "port": self.target.port,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
            "seconds": round(time.monotonic() - self.started, 3),
        }  # fmt: skip
        self.unreported = False
        self.bytes_in = self.bytes_out = 0
        self.started = time.monotonic()
        return event
