"""A command running in a desktop, over its WebSocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from oriel.client.aio.transport import Socket
from oriel.client.values import Channel
from oriel.model.errors import WireError

__all__ = ["Command"]

PIECE = 1 << 18  # bytes of one message, well under any limit on the way


class Command:
    """Iterate over it for `(Channel.STDOUT | Channel.STDERR, bytes)`; afterwards `exit_code` is known.

    An async context manager; leaving it ends the connection, and the command with it.
    """

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.timed_out = False

    async def begin(
        self,
        argv: Sequence[str] | None,
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        tty: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Say what to run; once, first."""
        request = {
            "argv": list(argv) if argv is not None else None,
            "cwd": cwd, "env": env, "tty": tty, "timeout_s": timeout_s,
        }  # fmt: skip
        await self._socket.send(
            json.dumps({key: value for key, value in request.items() if value is not None})
        )

    async def __aenter__(self) -> Command:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.aclose()

    async def write(self, data: bytes) -> None:
        """Send to the command's standard input."""
        for start in range(0, len(data), PIECE):
            await self._send(Channel.STDIN, data[start : start + PIECE])

    async def close_input(self) -> None:
        await self._send(Channel.STDIN, b"")

    async def resize(self, rows: int, columns: int) -> None:
        """Of its terminal."""
        await self._send(Channel.RESIZE, json.dumps({"rows": rows, "cols": columns}).encode())

    async def send_signal(self, number: int) -> None:
        await self._send(Channel.SIGNAL, json.dumps({"signal": number}).encode())

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Outputs as they come. WireError if the connection ends before the command does."""
        while self.exit_code is None:
            message = await self._socket.receive()
            if message is None:
                raise WireError(
                    "the connection ended before the command did",
                    hint="the desktop or the controller went away: see `oriel events`",
                )
            if not isinstance(message, bytes) or not message:
                raise WireError("the controller sent something that is no frame")
            channel, payload = message[0], message[1:]
            if channel == Channel.EXIT:
                self._end(payload)
            else:
                yield channel, payload

    def _end(self, payload: bytes) -> None:
        try:
            ended = json.loads(payload)
            self.exit_code = int(ended["exit_code"])
            self.signal = ended.get("signal")
            self.timed_out = bool(ended.get("timed_out"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WireError("the controller's last frame tells no exit code") from error

    async def _send(self, channel: int, payload: bytes) -> None:
        await self._socket.send(bytes([channel]) + payload)
