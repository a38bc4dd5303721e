"""A viewer's session (docs/internals.md, "The live view"): between its WebSocket, the relay and the guest.

The guest's service and the host's relay are asked when the viewer says `hello`, and let go of when it says
`close`, says `hello` again, or goes. What the guest says is checked here before the viewer gets it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

import structlog
from pydantic import Field
from starlette.websockets import WebSocket

from oriel.controller.door import Opened
from oriel.controller.guest import Guest
from oriel.controller.sdp import MOST_BYTES, answer_for_guest, candidates_of, offer_for_viewer
from oriel.controller.wishes import Body, parse
from oriel.fleet import Keeper
from oriel.model import wire
from oriel.model.errors import OrielError, UnavailableError, WireError

__all__ = ["MEDIA", "Signalling", "media_addresses"]

_LOG = structlog.get_logger(__name__)
WILDCARDS = {"0.0.0.0": ("0.0.0.0", "::"), "::": ("::", "0.0.0.0"), "": ("0.0.0.0", "::")}  # noqa: S104 - as asked


class Hello(Body):
    """`codecs` in order of preference."""

    type: Literal["hello"]
    version: Literal[1]
    codecs: Annotated[list[Annotated[str, Field(max_length=16)]], Field(min_length=1, max_length=8)]
    transport: Literal["any", "udp", "tcp"] = "any"
    audio: bool = False


class Answer(Body):
    type: Literal["answer"]
    peer: Literal["video", "audio"]
    sdp: Annotated[str, Field(max_length=MOST_BYTES)]


class Restart(Body):
    type: Literal["restart"]
    transport: Literal["any", "udp", "tcp"] = "any"


class Close(Body):
    type: Literal["close"]


Send = Callable[[Mapping[str, Any]], Awaitable[None]]
_MESSAGES: dict[str, type[Body]] = {"hello": Hello, "answer": Answer, "restart": Restart, "close": Close}


MEDIA = frozenset(_MESSAGES)


class Signalling:
    """The stream of one session. `send` reaches the viewer; `driving` is called while its input arrives."""

    def __init__(self, opened: Opened, send: Send, driving: Callable[[], None]) -> None:
        self._websocket = opened.websocket
        self._settings = opened.parts.settings
        self._keeper: Keeper = opened.target
        self._send = send
        self._driving = driving
        self._control = False
        self._stream: _Stream | None = None
        self._work: asyncio.Task[None] | None = None

    async def hear(self, given: Mapping[str, Any]) -> None:
        """One of the viewer's MEDIA messages. InvalidError if it is not what it should be."""
        message: Body = parse(_MESSAGES[given["type"]], given)
        await self._hear(message)

    async def control(self, on: bool) -> None:
        """Whether this viewer's input counts, from now on."""
        self._control = on
        if self._stream is not None:
            await self._stream.tell_guest({"type": "control", "on": on})

    async def _hear(self, message: Body) -> None:
        match message:
            case Hello():
                await self.end()
                self._work = asyncio.create_task(self._streaming(message), name="live view")
            case Answer() if self._stream is not None:
                await self._stream.answer(message.peer, message.sdp)
            case Restart() if self._stream is not None:
                await self._stream.restart(message.transport)
            case Close():
                await self.end()

    async def end(self) -> None:
        """Of the stream; the session may go on."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _streaming(self, hello: Hello) -> None:
        """One stream from its beginning to its end, whichever side ends it; the viewer is told why."""
        addresses, listen = media_addresses(self._settings, self._websocket)
        began = False
        try:
            async with AsyncExitStack() as stack:
                where = {"addresses": listen, "port": self._settings.media_port}
                relay = await stack.enter_async_context(self._keeper.stream("media", where))
                guest = await stack.enter_async_context(Guest(self._keeper).stream("media"))
                self._stream = _Stream(
                    send=self._send,
                    driving=self._driving,
                    relay=relay,
                    guest=guest,
                    addresses=addresses,
                    transport=hello.transport,
                )
                await self._stream.tell_guest(
                    {"type": "hello", "codecs": hello.codecs, "audio": hello.audio, "control": self._control}
                )
                began = True
                await self._stream.run()
                raise UnavailableError("the desktop's live view ended", hint="it starts again by itself")
        except (OrielError, OSError) as error:
            code = error.code if isinstance(error, OrielError) else "unavailable"
            hint = error.hint if isinstance(error, OrielError) else ""
            _LOG.info("live view ended", code=code, reason=str(error))
            told = {
                "type": "ended" if began else "unavailable",
                "code": code,
                "message": str(error),
                "hint": hint,
            }
            await self._send(told)
        finally:
            self._stream = None


class _Stream:
    """What stands between one viewer and one guest while pictures pass."""

    def __init__(
        self,
        *,
        send: Send,
        driving: Callable[[], None],
        relay: wire.Stream,
        guest: wire.Stream,
        addresses: list[str],
        transport: str,
    ) -> None:
        self._send = send
        self._driving = driving
        self._relay = relay
        self._guest = guest
        self._addresses = addresses
        self._transport = transport
        self._credentials: Mapping[str, str] = relay.result["viewer"]
        self._offers: dict[str, str] = {}
        self._version = 0
        self._restarted: set[str] = set()  # peers whose next answer the guest need not see

    async def run(self) -> None:
        """Until the guest or the relay ends. WireError if the guest says what it must not."""
        tasks = [asyncio.create_task(self._from_guest()), asyncio.create_task(self._from_relay())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tell_guest(self, message: Mapping[str, Any]) -> None:
        await wire.write_line(self._guest.writer, message)

    async def answer(self, peer: str, sdp: str) -> None:
        if peer in self._restarted:
            # New credentials are between the viewer and us alone.
            self._restarted.discard(peer)
            return
        told = answer_for_guest(sdp, self._relay.result["guest"])
        await self.tell_guest({"type": "answer", "peer": peer, "sdp": told})

    async def restart(self, transport: str) -> None:
        self._transport = transport
        await wire.write_line(self._relay.writer, {})

    async def _from_relay(self) -> None:
        while (line := await wire.read_line(self._relay.reader)) is not None:
            self._credentials = line["viewer"]
            for peer, sdp in self._offers.items():
                self._restarted.add(peer)
                await self._offer(peer, sdp, fresh=False)

    async def _from_guest(self) -> None:
        while (line := await wire.read_line(self._guest.reader)) is not None:
            match line:
                case {"type": "offer", "peer": "video" | "audio" as peer, "sdp": str(sdp)}:
                    self._offers[peer] = sdp
                    self._restarted.discard(peer)
                    await self._offer(peer, sdp, fresh=True)
                case {"type": "unavailable" | "ended" as kind, "code": str(code), "message": str(message)}:
                    hint = line.get("hint")
                    told = {"type": kind, "code": code[:64], "message": message[:500],
                            "hint": hint[:500] if isinstance(hint, str) else ""}  # fmt: skip
                    await self._send(told)
                case {"type": "driving"}:
                    self._driving()
                case _:
                    raise WireError("the desktop's live view said what it must not")

    async def _offer(self, peer: str, sdp: str, *, fresh: bool) -> None:
        self._version += 1
        candidates = candidates_of(self._addresses, self._relay.result["port"], self._transport)
        told = offer_for_viewer(sdp, self._credentials, candidates, version=self._version)
        await self._send({"type": "offer", "peer": peer, "fresh": fresh, "sdp": told})


def media_addresses(settings: Any, websocket: WebSocket) -> tuple[list[str], list[str]]:
    """Where this viewer is to find the relay, and where the relay listens."""
    listen = list(
        WILDCARDS.get(settings.media_host or settings.host, (settings.media_host or settings.host,))
    )
    if settings.media_addresses:
        return list(settings.media_addresses), listen
    if listen[0] not in WILDCARDS:
        return listen, listen
    # Where it reached us: by the name it asked for, if that is an address, and by the socket's own.
    asked, ours = websocket.url.hostname or "", (websocket.scope.get("server") or ("",))[0]
    found = [address for address in (asked, ours) if _is_address(address)]
    return list(dict.fromkeys(found)), listen


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
