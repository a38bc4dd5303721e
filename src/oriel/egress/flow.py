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
        "half_closed", "last_active", "over", "relay", "started", "target", "upstream", "way_in",
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
        self.target: Target | None = None
        self.address: Address | None = None  # what the target's name was resolved to, in direct mode
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

    def access_event(self) -> dict[str, Any]:
        """Who went where and how much, never what. Call `forget_target` after."""
        assert self.target is not None  # noqa: S101 - the caller asked
        return {
            "event": "access", "way_in": self.way_in, "host": str(self.target.host), "port": self.target.port,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
            "seconds": round(time.monotonic() - self.started, 3),
        }  # fmt: skip

    def forget_target(self) -> None:
        self.target = self.address = None
        self.bytes_in = self.bytes_out = 0
        self.started = time.monotonic()
