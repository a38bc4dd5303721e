"""The two directions of a tunnel, copied between two sockets.

No task and no buffer belong to an idle tunnel: callbacks of the event loop read into one buffer shared by
all and send from it at once. Only what the receiver does not take is kept (at most one buffer's worth per
direction), and the sender is not read again until it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from oriel.egress.channel import SocketChannel

__all__ = ["Relay"]

BUFFER = memoryview(bytearray(256 << 10))


class _Direction:
    __slots__ = ("_count", "_loop", "_relay", "_sink", "_source", "ended", "pending")

    def __init__(
        self, relay: Relay, source: SocketChannel, sink: SocketChannel, count: Callable[[int], float]
    ) -> None:
        self._relay = relay
        self._source = source.sock
        self._sink = sink.sock
        self._count = count
        self._loop = asyncio.get_running_loop()
        self.pending = memoryview(source.take_unread())
        self.ended = False

    def start(self) -> None:
        if self.pending:
            self._count(len(self.pending))
            if not self._relay.over:
                self._loop.add_writer(self._sink, self._writable)
        else:
            self._loop.add_reader(self._source, self._readable)

    def _readable(self) -> None:
        try:
            size = self._source.recv_into(BUFFER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._relay.abort()
            return
        if size == 0:
            self._end()
            return
        delay = self._count(size)
        if self._relay.over:  # counting may have used up a quota
            return
        try:
            sent = self._sink.send(BUFFER[:size])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._relay.abort()
            return
        if sent < size:
            self.pending = memoryview(bytes(BUFFER[sent:size]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._writable)
        elif delay:
            self._loop.remove_reader(self._source)
            self._loop.call_later(delay, self._resume)

    def _writable(self) -> None:
        try:
            sent = self._sink.send(self.pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._relay.abort()
            return
        self.pending = self.pending[sent:]
        if not self.pending:
            self._loop.remove_writer(self._sink)
            # Rate limits hold here too: nothing more is read before its time.
            delay = self._count(0)
            if delay:
                self._loop.call_later(delay, self._resume)
            else:
                self._resume()

    def _resume(self) -> None:
        if not self._relay.over:
            self._loop.add_reader(self._source, self._readable)

    def _end(self) -> None:
        self._loop.remove_reader(self._source)
        self.ended = True
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._relay.direction_ended()


class Relay:
    """Runs from `start` until both directions ended or `abort`; then calls `on_end` once.

    `count_out` is told the bytes read from the guest, `count_in` those for it; each returns how many
    seconds to wait before reading more.
    """

    __slots__ = ("_guest", "_inward", "_on_end", "_on_half_closed", "_outward", "_upstream", "over")

    def __init__(
        self,
        guest: SocketChannel,
        upstream: SocketChannel,
        *,
        count_out: Callable[[int], float],
        count_in: Callable[[int], float],
        on_end: Callable[[], None],
        on_half_closed: Callable[[], None],
    ) -> None:
        self.over = False
        self._guest = guest
        self._upstream = upstream
        self._on_end = on_end
        self._on_half_closed = on_half_closed
        self._outward = _Direction(self, guest, upstream, count_out)
        self._inward = _Direction(self, upstream, guest, count_in)

    def start(self) -> None:
        self._outward.start()
        self._inward.start()

    def direction_ended(self) -> None:
        if self._outward.ended and self._inward.ended:
            self._finish(SocketChannel.close)
        else:
            self._on_half_closed()

    def abort(self) -> None:
        """Close both sides at once; nothing that waits is sent any more."""
        self._finish(SocketChannel.abort)

    def _finish(self, close: Callable[[SocketChannel], None]) -> None:
        if self.over:
            return
        self.over = True
        close(self._guest)
        close(self._upstream)
        self._on_end()
