"""What the controller asks of a desktop's agent, through its keeper (docs/internals.md)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from oriel.controller.picture import Image, from_bgrx
from oriel.fleet import Keeper
from oriel.model import wire
from oriel.model.errors import OrielError, WireError

__all__ = ["Channel", "Guest", "Outcome"]

ASK_DEADLINE_S = 15.0
SCREEN_DEADLINE_S = 15.0
MAX_SCREEN = 64 << 20  # bytes: 3840x2160 is half of it
MAX_OUTPUT = 8 << 20  # bytes kept of each output of a command that is answered whole
GRACE_S = 15.0  # beyond a command's own time-out, before its agent counts as hung


class Channel:
    """The frames of the agent's `exec`."""

    STDIN, STDOUT, STDERR, EXIT, RESIZE, SIGNAL = range(6)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended. `truncated`: more was written than is kept."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool
    truncated: bool


class Guest:
    """One desktop's agent. Every method raises the agent's own errors, or UnavailableError."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def ask(
        self, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = ASK_DEADLINE_S
    ) -> dict[str, Any]:
        async with self.stream(verb, args, deadline_s=deadline_s) as stream:
            return stream.result

    @asynccontextmanager
    async def stream(
        self, verb: str, args: Mapping[str, Any] | None = None, *, deadline_s: float = ASK_DEADLINE_S
    ) -> AsyncIterator[wire.Stream]:
        """A verb that streams; the connection ends with the block, and what ran for it too."""
        async with self._keeper.stream("agent") as raw:

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                return raw.reader, raw.writer

            yield await wire.open_stream(connect, verb, args, deadline_s=deadline_s)

    async def screen(self) -> Image:
        """The screen now. WireError if what came is no screen."""
        async with asyncio.timeout(SCREEN_DEADLINE_S), self.stream("screenshot") as stream:
            told = stream.result
            width, height, stride = (told.get(key) for key in ("width", "height", "stride"))
            if not (isinstance(width, int) and isinstance(height, int) and isinstance(stride, int)):
                raise WireError("the guest's screenshot has no size")
            size = stride * height
            if not 0 < size <= MAX_SCREEN or told.get("format") != "BGRX":
                raise WireError("the guest's screenshot is of no known form")
            data = b"".join([piece async for piece in wire.read_chunks(stream.reader, size)])
        try:
            return await asyncio.to_thread(from_bgrx, data, width, height, stride)
        except ValueError as error:
            raise WireError(f"the guest's screenshot: {error}") from error

    async def input(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Returns once the display has them."""
        await self.ask("input", {"events": list(events)})

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None,
        env: Mapping[str, str] | None,
        stdin: bytes,
        timeout_s: float,
    ) -> Outcome:
        """Run a command to its end. A command that fails is a result, not an error."""
        args: dict[str, Any] = {"argv": list(argv), "timeout_s": timeout_s}
        args |= {key: value for key, value in (("cwd", cwd), ("env", env)) if value is not None}
        began = time.monotonic()
        async with asyncio.timeout(timeout_s + GRACE_S), self.stream("exec", args) as stream:
            feeding = asyncio.create_task(_feed(stream.writer, stdin))
            try:
                outputs, ended = await _collect(stream.reader)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        return Outcome(
            exit_code=int(ended["exit_code"]),
            stdout=bytes(outputs[Channel.STDOUT][:MAX_OUTPUT]),
            stderr=bytes(outputs[Channel.STDERR][:MAX_OUTPUT]),
            seconds=round(time.monotonic() - began, 3),
            timed_out=bool(ended.get("timed_out")),
            truncated=any(len(data) > MAX_OUTPUT for data in outputs.values()),
        )

    async def write_file(self, path: str, size: int, mode: int | None, content: AsyncIterator[bytes]) -> None:
        """Put a file of exactly `size` bytes in place; synced when this returns.

        WireError if `content` gives another number of bytes; the agent then keeps what was there.
        """
        args = {"path": path, "size": size} | ({} if mode is None else {"mode": mode})
        async with self.stream("file_write", args) as stream:
            sent = 0
            async for piece in content:
                sent += len(piece)
                if sent > size:
                    raise WireError("more bytes came than were announced")
                stream.writer.write(piece)
                await stream.writer.drain()
            if sent < size:
                raise WireError("fewer bytes came than were announced")
            answer = await wire.read_line(stream.reader)
        if answer is None:
            raise WireError("the agent closed the connection before the file was in place")
        if answer.get("ok") is not True:
            raise OrielError.from_wire(answer.get("error") or {})


async def _feed(writer: asyncio.StreamWriter, stdin: bytes) -> None:
    if stdin:
        await wire.write_frame(writer, Channel.STDIN, stdin)
    await wire.write_frame(writer, Channel.STDIN, b"")


async def _collect(reader: asyncio.StreamReader) -> tuple[dict[int, bytearray], dict[str, Any]]:
    """Both outputs, one byte more than is kept at most, and how the command ended."""
    outputs = {Channel.STDOUT: bytearray(), Channel.STDERR: bytearray()}
    while (frame := await wire.read_frame(reader)) is not None:
        channel, payload = frame
        if channel == Channel.EXIT:
            ended = json.loads(payload)
            if not isinstance(ended, dict) or not isinstance(ended.get("exit_code"), int):
                raise WireError("the agent's last frame tells no exit code")
            return outputs, ended
        if channel in outputs:
            room = MAX_OUTPUT + 1 - len(outputs[channel])
            outputs[channel] += payload[:room]
    raise WireError("the agent closed the connection before the command ended")
