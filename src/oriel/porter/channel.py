"""Messages between controller and porter: one JSON object each, with descriptors, over a unix socket.

SOCK_SEQPACKET keeps messages apart and descriptors with theirs (unix(7)). After the object, behind a line's
end, there may be a text that is passed on as it is. What messages there are is in docs/internals.md.

Both first say `hello` with the VERSION of all this. Only `hello` and `quit` mean the same in every version.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["VERSION", "Channel", "Heard"]

VERSION = 1
MAX_MESSAGE = 160 << 10  # a socket's buffer, 208 KiB by default, must hold it
MAX_FDS = 2
MOST_WAITING = 20_000

# Called with a message and its descriptors, which are then the callee's to close.
Heard = Callable[[dict[str, Any], list[int]], None]


class Channel:
    """One end. `on_message` for each message; `on_closed` once, when the other end has gone."""

    def __init__(self, sock: socket.socket, on_message: Heard, on_closed: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._loop.add_reader(sock, self._read)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = (), text: str | None = None) -> None:
        """Never waits. The descriptors stay the caller's."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if text is not None:
            data += b"\n" + text.encode(errors="replace")
        if len(data) > MAX_MESSAGE:
            raise ValueError("the message is too long")
        if self._waiting or not self._send(data, list(fds)):
            if len(self._waiting) >= MOST_WAITING:
                self.close()
                return
            self._waiting.append((data, [os.dup(fd) for fd in fds]))
            self._loop.add_writer(self._sock, self._flush)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for _, fds in self._waiting:
            _close_all(fds)
        self._waiting.clear()
        self._on_closed()

    def _send(self, data: bytes, fds: list[int]) -> bool:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], ancillary)
        except BlockingIOError:
            return False
        except OSError:
            # The reader learns of the end, in its turn.
            return True
        return True

    def _flush(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            if not self._send(data, fds):
                return
            _close_all(fds)
            self._waiting.popleft()
        self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._sock, MAX_MESSAGE, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            _close_all(fds)
            self.close()
            return
        message = None if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else _parse(data)
        if message is None:
            _close_all(fds)
            self.close()
            return
        self._on_message(message, fds)


def _parse(data: bytes) -> dict[str, Any] | None:
    head, end, text = data.partition(b"\n")
    try:
        message = json.loads(head)
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    return message | {"text": text.decode(errors="replace")} if end else message


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
