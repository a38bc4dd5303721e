"""The WebSockets of a desktop for programs: Chrome's DevTools, commands and terminals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from oriel.controller.chrome import Chrome, browser_path
from oriel.controller.door import Opened, add_door, messages
from oriel.controller.downloads import finished
from oriel.controller.guest import Channel, Guest
from oriel.controller.parts import Parts
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import Body, parse
from oriel.model import wire
from oriel.model.errors import Fault, InvalidError, UnavailableError, WireError

__all__ = ["both", "router"]

router = APIRouter(prefix="/v1/desktops")

PIECE = 1 << 17
FIRST_MESSAGE_S = 15.0
SHELL = ("/bin/bash", "--login")
_FROM_CLIENT = (Channel.STDIN, Channel.RESIZE, Channel.SIGNAL)


class Tty(Body):
    rows: Annotated[int, Field(ge=1, le=1000)] = 24
    cols: Annotated[int, Field(ge=1, le=1000)] = 80
    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9+._-]{1,64}$")] = "xterm-256color"


class Start(Body):
    """The first message of `exec` and `terminal`."""

    argv: Annotated[list[str], Field(min_length=1, max_length=4096)] | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    tty: Tty | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = None


@asynccontextmanager
async def _open_chrome(parts: Parts, found: Desktop) -> AsyncIterator[Chrome]:
    keeper = parts.fleet.keeper(found.id)
    path = await browser_path(keeper)
    async with keeper.stream("cdp") as stream:
        chrome = Chrome(stream, path)
        await chrome.open()
        yield chrome


async def downloads(opened: Opened) -> None:
    """Text messages, `{name, size}` of each file that is finished in ~/Downloads from now on."""

    async def tell() -> None:
        async for one in finished(opened.target):
            await opened.websocket.send_text(json.dumps({"name": one.name, "size": one.size}))

    async def listen() -> None:
        async for _ in messages(opened.websocket):
            raise WireError("nothing is to be said here")

    await both(tell(), listen())


async def cdp(opened: Opened) -> None:
    """Text messages, one of Chrome's DevTools protocol each, with its browser endpoint."""
    chrome: Chrome = opened.target

    async def from_chrome() -> None:
        async for message in chrome.messages():
            await opened.websocket.send_text(message)

    async def to_chrome() -> None:
        async for message in messages(opened.websocket):
            await chrome.send(message if isinstance(message, str) else message.decode(errors="replace"))

    await both(from_chrome(), to_chrome())


@asynccontextmanager
async def _open_guest(parts: Parts, found: Desktop) -> AsyncIterator[Guest]:
    yield Guest(parts.fleet.keeper(found.id))


async def run(opened: Opened) -> None:
    """A command: first its `argv` and so on as one text message, then frames, the exit code the last one."""
    start = await _first_message(opened)
    if start.argv is None:
        raise InvalidError.of([Fault("argv", "is missing")])
    await _run(opened, start)


async def terminal(opened: Opened) -> None:
    """As `exec`, on a terminal; without `argv` the user's login shell."""
    start = await _first_message(opened)
    start.tty = start.tty or Tty()
    start.argv = start.argv or list(SHELL)
    await _run(opened, start)


async def _first_message(opened: Opened) -> Start:
    try:
        async with asyncio.timeout(FIRST_MESSAGE_S):
            text = await anext(messages(opened.websocket), None)
    except TimeoutError:
        raise WireError("nothing came that says what to run") from None
    if text is None:
        raise WireError("the connection ended before it said what to run")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidError.of([Fault("body", "the first message must be JSON")]) from None
    start: Start = parse(Start, given)
    return start


async def _run(opened: Opened, start: Start) -> None:
    guest: Guest = opened.target
    args = start.model_dump(exclude_none=True)
    async with guest.stream("exec", args) as stream:

        async def outputs() -> None:
            while (frame := await wire.read_frame(stream.reader)) is not None:
                channel, payload = frame
                await opened.websocket.send_bytes(bytes([channel]) + payload)
                if channel == Channel.EXIT:
                    return
            raise UnavailableError("the desktop went away before the command ended")

        async def inputs() -> None:
            async for message in messages(opened.websocket):
                if not isinstance(message, bytes) or not message or message[0] not in _FROM_CLIENT:
                    raise WireError("a frame is a channel (0 stdin, 4 resize, 5 signal) and its payload")
                await wire.write_frame(stream.writer, message[0], message[1:])

        await both(outputs(), inputs())


async def both(*ways: Coroutine[Any, Any, None]) -> None:
    """Until one of the directions has ended; the others are of no use then."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except ConnectionError:
        # Either side went away without a word; to the other it is an end like any other.
        return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


add_door(router, "cdp", _open_chrome, cdp)
add_door(router, "downloads", _open_guest, downloads)
add_door(router, "exec", _open_guest, run)
add_door(router, "terminal", _open_guest, terminal)
