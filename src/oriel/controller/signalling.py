"""A viewer's session (docs/internals.md, "The live view"): between its WebSocket, the relay and the guest.

The guest's service and the host's relay are asked when the viewer says `hello`, and let go of when it says
`close`, says `hello` again, or goes. What the guest says is checked here before the viewer gets it.
What a later controller needs to go on with a stream is noted before the viewer is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import structlog
from pydantic import Field
from starlette.websockets import WebSocket

from oriel.controller.lines import CarriedEnds, Ends, Line, hear, tell
from oriel.controller.sdp import MOST_BYTES, answer_for_guest, candidates_of, offer_for_viewer
from oriel.controller.wishes import Body, parse
from oriel.fleet import Keeper, ask_plain
from oriel.host.settings import Settings
from oriel.model.errors import OrielError, UnavailableError, WireError

__all__ = ["MEDIA", "Place", "Signalling", "place_of"]

_LOG = structlog.get_logger(__name__)
MOST_INPUT = 200  # of one message
WILDCARDS = {"0.0.0.0": ("0.0.0.0", "::"), "::": ("::", "0.0.0.0"), "": ("0.0.0.0", "::")}  # noqa: S104 - as asked


GUEST_DEADLINE_S = 15.0


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


class Input(Body):
    """What the data channel `input` would carry, while nothing is known to pass there."""

    type: Literal["input"]
    messages: Annotated[list[dict[str, Any]], Field(max_length=MOST_INPUT)]


class Close(Body):
    type: Literal["close"]


Send = Callable[[Mapping[str, Any]], Awaitable[None]]
_MESSAGES: dict[str, type[Body]] = {
    "hello": Hello, "answer": Answer, "restart": Restart, "input": Input, "close": Close
}  # fmt: skip

MEDIA = frozenset(_MESSAGES)


@dataclass(frozen=True)
class Place:
    """Where a viewer is to find the relay, and where the relay listens; `port` 0 is any."""

    addresses: Sequence[str]
    listen: Sequence[str]
    port: int


class Signalling:
    """The stream of one session. `send` reaches the viewer; `driving` is called while its input arrives."""

    def __init__(
        self, keeper: Keeper, place: Place, ends: Ends, *, send: Send, driving: Callable[[], None]
    ) -> None:
        self._keeper = keeper
        self._place = place
        self._ends = ends
        self._send = send
        self._driving = driving
        self._control = False
        self._stream: _Stream | None = None
        self._work: asyncio.Task[None] | None = None

    def go_on(self, ends: CarriedEnds, told: Mapping[str, Any]) -> None:
        """With the stream that an earlier controller has begun, and noted as `told`."""
        stream = _Stream.from_json(told, ends, self._send, self._driving)
        self._work = asyncio.create_task(self._to_its_end(stream), name="live view")

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
                self._work = asyncio.create_task(self._from_beginning(message), name="live view")
            case Answer() if self._stream is not None:
                await self._stream.answer(message.peer, message.sdp)
            case Restart() if self._stream is not None:
                await self._stream.restart(message.transport)
            case Input() if self._stream is not None:
                await self._stream.tell_guest({"type": "input", "messages": message.messages})
            case Close():
                await self.end()

    async def end(self) -> None:
        """Of the stream; the session may go on."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _from_beginning(self, hello: Hello) -> None:
        try:
            stream = await self._begin(hello)
        except (OrielError, OSError) as error:
            await self._tell_end("unavailable", error)
        else:
            await self._to_its_end(stream)

    async def _to_its_end(self, stream: _Stream) -> None:
        """Whichever side ends it; the viewer is told why."""
        self._stream = stream
        try:
            with contextlib.closing(stream):
                await stream.run()
                raise UnavailableError("the desktop's live view ended", hint="it starts again by itself")
        except (OrielError, OSError) as error:
            await self._tell_end("ended", error)
        finally:
            self._stream = None
            self._ends.note({"stream": None})

    async def _tell_end(self, kind: str, error: OrielError | OSError) -> None:
        code = error.code if isinstance(error, OrielError) else "unavailable"
        hint = error.hint if isinstance(error, OrielError) else ""
        _LOG.info("live view ended", code=code, reason=str(error))
        await self._send({"type": kind, "code": code, "message": str(error), "hint": hint})

    async def _begin(self, hello: Hello) -> _Stream:
        where = {"addresses": list(self._place.listen), "port": self._place.port}
        relay, told = await self._keeper.open("media", where)
        with contextlib.ExitStack() as opening:
            opening.callback(relay.close)
            guest, _ = await self._keeper.open("agent")
            opening.callback(guest.close)
            await ask_plain(guest, "media", deadline_s=GUEST_DEADLINE_S)
            opening.pop_all()
        stream = _Stream(
            ends=self._ends, send=self._send, driving=self._driving, relay=await self._ends.attach(relay),
            guest=await self._ends.attach(guest), told=told, addresses=self._place.addresses,
            transport=hello.transport,
        )  # fmt: skip
        asked = {"codecs": hello.codecs, "audio": hello.audio, "control": self._control}
        await stream.tell_guest({"type": "hello", **asked})
        stream.note()
        return stream


class _Stream:
    """What stands between one viewer and one guest while pictures pass."""

    def __init__(
        self, *, ends: Ends, send: Send, driving: Callable[[], None], relay: tuple[str, Line],
        guest: tuple[str, Line], told: Mapping[str, Any], addresses: Sequence[str], transport: str,
    ) -> None:  # fmt: skip
        self._ends = ends
        self._send = send
        self._driving = driving
        (self._relay_name, self._relay), (self._guest_name, self._guest) = relay, guest
        self._told = told  # the relay's answer
        self._addresses = addresses
        self._transport = transport
        self._credentials: Mapping[str, str] = told["viewer"]
        self._offers: dict[str, str] = {}
        self._version = 0
        self._restarted: set[str] = set()  # peers whose next answer the guest need not see

    @staticmethod
    def from_json(
        noted: Mapping[str, Any], ends: CarriedEnds, send: Send, driving: Callable[[], None]
    ) -> _Stream:
        """As an earlier controller has noted it."""
        relay, guest = noted["ends"]
        stream = _Stream(
            ends=ends, send=send, driving=driving, relay=(relay, ends.again(relay)),
            guest=(guest, ends.again(guest)), told=noted["told"], addresses=noted["addresses"],
            transport=noted["transport"],
        )  # fmt: skip
        stream._credentials, stream._offers = noted["credentials"], dict(noted["offers"])
        stream._version, stream._restarted = noted["version"], set(noted["restarted"])
        return stream

    def to_json(self) -> dict[str, Any]:
        return {
            "ends": [self._relay_name, self._guest_name], "told": dict(self._told),
            "addresses": list(self._addresses), "transport": self._transport,
            "credentials": dict(self._credentials), "offers": self._offers, "version": self._version,
            "restarted": sorted(self._restarted),
        }  # fmt: skip

    def close(self) -> None:
        self._relay.close()
        self._guest.close()

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
        await tell(self._guest, message)

    async def answer(self, peer: str, sdp: str) -> None:
        if peer in self._restarted:
            # New credentials are between the viewer and us alone.
            self._restarted.discard(peer)
            self.note()
            return
        told = answer_for_guest(sdp, self._told["guest"])
        await self.tell_guest({"type": "answer", "peer": peer, "sdp": told})

    async def restart(self, transport: str) -> None:
        self._transport = transport
        await tell(self._relay, {})

    def note(self) -> None:
        """What a later controller needs to go on with it."""
        self._ends.note({"stream": self.to_json()})

    async def _from_relay(self) -> None:
        while (line := await hear(self._relay)) is not None:
            self._credentials = line["viewer"]
            for peer, sdp in self._offers.items():
                self._restarted.add(peer)
                await self._offer(peer, sdp, fresh=False)

    async def _from_guest(self) -> None:
        while (line := await hear(self._guest)) is not None:
            match line:
                case {"type": "offer", "peer": "video" | "audio" as peer, "sdp": str(sdp)}:
                    self._restarted.discard(peer)
                    await self._offer(peer, sdp, fresh=True)
                case {"type": "unavailable" | "ended" as kind, "code": str(code), "message": str(message)}:
                    hint = line.get("hint")
                    told = {"type": kind, "code": code[:64], "message": message[:500],
                            "hint": hint[:500] if isinstance(hint, str) else ""}  # fmt: skip
                    await self._send(told)
                case {"type": "driving"}:
                    self._driving()
                case {"type": "took", "s": int(number)}:
                    await self._send({"type": "took", "s": number})
                case _:
                    raise WireError("the desktop's live view said what it must not")

    async def _offer(self, peer: str, sdp: str, *, fresh: bool) -> None:
        self._version += 1
        candidates = candidates_of(self._addresses, self._told["port"], self._transport)
        told = offer_for_viewer(sdp, self._credentials, candidates, version=self._version)
        self._offers[peer] = sdp
        self.note()
        await self._send({"type": "offer", "peer": peer, "fresh": fresh, "sdp": told})


def place_of(settings: Settings, websocket: WebSocket) -> Place:
    """Where this viewer is to find the relay."""
    listen = list(
        WILDCARDS.get(settings.media_host or settings.host, (settings.media_host or settings.host,))
    )
    if settings.media_addresses:
        return Place(list(settings.media_addresses), listen, settings.media_port)
    if listen[0] not in WILDCARDS:
        return Place(listen, listen, settings.media_port)
    # Where it reached us: by the name it asked for, if that is an address, and by the socket's own.
    asked, ours = websocket.url.hostname or "", (websocket.scope.get("server") or ("",))[0]
    found = [address for address in (asked, ours) if _is_address(address)]
    return Place(list(dict.fromkeys(found)), listen, settings.media_port)


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
