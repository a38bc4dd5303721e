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
from oriel.model.clipboard import MOST_BYTES
from oriel.model.errors import OrielError, WireError

__all__ = ["Channel", "Clip", "Guest", "Outcome"]

ASK_DEADLINE_S = 15.0
SCREEN_DEADLINE_S = 15.0
CLIPBOARD_DEADLINE_S = 30.0
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


@dataclass(frozen=True)
class Clip:
    """What is on a desktop's clipboard: `parts` by format, which formats it is `offered` in, which of those
    asked for are beyond what is taken."""

    parts: Mapping[str, bytes]
    offered: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()

    def text(self, name: str) -> str | None:
        """A part as text; None if there is none. WireError if it is no text."""
        if name not in self.parts:
            return None
        try:
            return self.parts[name].decode()
        except UnicodeDecodeError as error:
            raise WireError("the guest's clipboard is no text") from error


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

    async def clipboard(self, formats: Sequence[str]) -> Clip:
        """What is on the clipboard of these formats. WireError if the guest says what it must not."""
        async with (
            asyncio.timeout(CLIPBOARD_DEADLINE_S),
            self.stream("clipboard_read", {"formats": list(formats)}) as stream,
        ):
            told = stream.result
            parts: dict[str, bytes] = {}
            for name, size in _sizes(told.get("parts")):
                if name not in formats or name in parts or not 0 <= size <= MOST_BYTES[name]:
                    raise WireError("the guest's clipboard is not what was asked for")
                parts[name] = b"".join([piece async for piece in wire.read_chunks(stream.reader, size)])
        offered, too_large = (
            tuple(name for name in MOST_BYTES if isinstance(found, list) and name in found)
            for found in (told.get("offered"), told.get("too_large"))
        )
        return Clip(parts, offered, too_large)

    async def set_clipboard(self, parts: Mapping[str, bytes]) -> None:
        """Put the same in one or more formats on the clipboard; it is there when this returns."""
        sizes = {name: len(data) for name, data in parts.items()}
        async with (
            asyncio.timeout(CLIPBOARD_DEADLINE_S),
            self.stream("clipboard_write", {"parts": sizes}) as stream,
        ):
            for data in parts.values():
                stream.writer.write(data)
                await stream.writer.drain()
            wire.result_of("clipboard_write", await wire.read_line(stream.reader))

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
            await _pass_on(stream, size, content)

    async def append_file(self, piece: Mapping[str, Any], content: AsyncIterator[bytes]) -> dict[str, Any]:
        """A piece of an upload (the agent's `file_append`): `{offset, complete}` once it has come."""
        async with self.stream("file_append", piece) as stream:
            told = await _pass_on(stream, piece["size"], content)
        return {"offset": told.get("offset"), "complete": told.get("complete")}


def _sizes(told: object) -> list[tuple[str, int]]:
    match told:
        case list():
            found = [(one[0], one[1]) for one in told if isinstance(one, list) and len(one) == 2]
            if len(found) == len(told) and all(
                name in MOST_BYTES and isinstance(size, int) for name, size in found if isinstance(name, str)
            ):
                return found
    raise WireError("the guest's clipboard is not what was asked for")


async def _pass_on(stream: wire.Stream, size: int, content: AsyncIterator[bytes]) -> dict[str, Any]:
    """All of `content`, which has `size` bytes, and what the agent then answers."""
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
    result = answer.get("result")
    return dict(result) if isinstance(result, dict) else {}


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
