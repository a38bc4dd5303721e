"""The controller's half of the channel: hands connections over, learns of those still carried.

A porter of another version is told to quit: what it carries ends, viewers come back by themselves, and
whoever started it starts the one that is installed. Rights cannot be guarded over what is not understood.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.model.clipboard import Way
from oriel.porter.channel import VERSION, Channel
from oriel.porter.session import VIEWER

__all__ = ["Carried", "CarriedLine", "Ended", "Porter"]

_LOG = logging.getLogger(__name__)

RETRY_S = 1.0


@dataclass(frozen=True)
class Ended:
    """How a carried connection ended: `ok`, `left`, the code it was closed for, or `porter_gone`."""

    outcome: str
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(eq=False)
class Carried:
    """One connection that the porter carries. `about`: what a later controller must know to take it up."""

    id: str
    kind: str
    about: Mapping[str, Any]
    hands: str
    channel: Channel = field(repr=False)
    ended: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), repr=False
    )
    on_wants: Callable[[], None] = field(default=lambda: None, repr=False)
    on_used: Callable[[], None] = field(default=lambda: None, repr=False)
    lines: dict[str, CarriedLine] = field(default_factory=dict, repr=False)  # of a session, by name

    def line(self, name: str) -> CarriedLine:
        """An end of a session, until it is detached."""
        return self.lines.setdefault(name, CarriedLine(self, name))

    def attach(self, name: str, sock: socket.socket) -> CarriedLine:
        """Give a session one more end. `name` is new; `sock` is closed here."""
        with sock:
            self.channel.send({"do": "attach", "id": self.id, "name": name}, (sock.fileno(),))
        return self.line(name)

    def note(self, about: Mapping[str, Any]) -> None:
        """What a later controller must know, from now on."""
        self.about = about
        self.channel.send({"do": "about", "id": self.id, "about": dict(about)})

    def change(self, hands: str) -> None:
        """What the viewer's hands do from now on (porter/screen.py, `Hold`)."""
        self.hands = hands
        self.channel.send({"do": "hands", "id": self.id, "hands": hands})

    def refuse(self) -> None:
        """To one who wants to drive: not now."""
        self.channel.send({"do": "refuse", "id": self.id})

    def release(self) -> None:
        """Let go of what is down."""
        self.channel.send({"do": "release", "id": self.id})

    def end(self, code: int, reason: str) -> None:
        if not self.ended.done():
            self.channel.send({"do": "end", "id": self.id, "code": code, "reason": reason})


class CarriedLine:
    """One end of a session, that says texts: the next is told only when this one was dealt with."""

    def __init__(self, carried: Carried, name: str) -> None:
        self._carried, self._name = carried, name
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()
        self._owing = False

    async def read(self) -> str | None:
        """What it said next; None once it has gone. That the former was dealt with is told by this."""
        if self._owing:
            self._owing = False
            self._send({"do": "next"})
        text = await self._heard.get()
        self._owing = text is not None
        return text

    async def write(self, text: str) -> None:
        self._send({"do": "say"}, text)

    def close(self) -> None:
        """It is detached. Idempotent."""
        if self._carried.lines.pop(self._name, None) is not None:
            self._send({"do": "detach"})

    def hear(self, text: str | None) -> None:
        self._heard.put_nowait(text)

    def _send(self, message: dict[str, Any], text: str | None = None) -> None:
        carried = self._carried
        carried.channel.send(message | {"id": carried.id, "name": self._name}, text=text)


class Porter:
    """`on_found` is called with each connection that an earlier controller has handed over."""

    def __init__(self, path: Path, on_found: Callable[[Carried], None]) -> None:
        self._path = path
        self._on_found = on_found
        self._channel: Channel | None = None
        self._carried: dict[str, Carried] = {}
        self._gone = asyncio.Event()
        self._understood = False
        self._leaving = False

    @property
    def there(self) -> bool:
        """Whether it would take a connection now."""
        return self._channel is not None and self._understood

    async def keep(self) -> None:
        """Stay connected with it, whenever there is one; until cancelled. Then what it carries goes on."""
        try:
            while not self._leaving:
                if await self._connect():
                    await self._gone.wait()
                # Not an event: a socket that is not there yet cannot tell when it will be.
                await asyncio.sleep(RETRY_S)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it, for good: it goes on by itself."""
        self._leaving = True
        if self._channel is not None:
            self._channel.close()

    def carry(
        self, client: socket.socket, desktop: socket.socket | None, kind: str, about: Mapping[str, Any],
        *, hands: str = "", clipboard: Way = Way.BOTH, size: int = 0, left_s: float | None = None,
    ) -> Carried | None:  # fmt: skip
        """Hand both ends over; they are closed here. None, and nothing was done, if there is no porter."""
        channel = self._channel
        if channel is None or not self._understood:
            return None
        socks = [client] if desktop is None else [client, desktop]
        carried = Carried(secrets.token_hex(8), kind, about, hands, channel)
        self._carried[carried.id] = carried
        message = {
            "do": "carry", "id": carried.id, "kind": kind, "about": dict(about),
            "hands": hands, "clipboard": str(clipboard), "size": size, "left_s": left_s,
        }  # fmt: skip
        channel.send(message, [sock.fileno() for sock in socks])
        for sock in socks:
            sock.close()
        return carried

    async def _connect(self) -> bool:
        if not self._path.exists():
            return False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            return False
        self._gone.clear()
        self._understood = False
        self._channel = Channel(sock, self._heard, self._closed)
        self._channel.send({"do": "hello", "version": VERSION})
        return True

    def _heard(self, message: dict[str, Any], _fds: list[int]) -> None:
        channel = self._channel
        if channel is None:
            return
        if message.get("say") == "hello":
            self._meet_version(channel, message.get("version"))
        elif not self._understood:
            return
        elif message.get("say") == "carrying":
            self._take_up(channel, message)
        elif (carried := self._carried.get(str(message.get("id", "")))) is not None:
            self._follow(carried, message)

    def _meet_version(self, channel: Channel, version: object) -> None:
        self._understood = version == VERSION
        if not self._understood:
            _LOG.warning("a porter of version %s is told to quit: this is version %s", version, VERSION)
            channel.send({"do": "quit"})

    def _take_up(self, channel: Channel, message: Mapping[str, Any]) -> None:
        found = Carried(message["id"], message["kind"], message["about"], message["hands"], channel)
        for name in message["ends"]:
            found.line(name)
        self._carried[found.id] = found
        self._on_found(found)

    def _follow(self, carried: Carried, message: Mapping[str, Any]) -> None:
        match message["say"]:
            case "heard":
                if message["name"] == VIEWER or message["name"] in carried.lines:
                    carried.line(message["name"]).hear(message.get("text"))
            case "wants":
                carried.on_wants()
            case "used":
                carried.on_used()
            case "ended":
                del self._carried[carried.id]
                _set(carried, Ended(message["outcome"], message["bytes_in"], message["bytes_out"]))

    def _closed(self) -> None:
        self._channel = None
        for carried in self._carried.values():
            _set(carried, Ended("porter_gone"))
        self._carried.clear()
        self._gone.set()


def _set(carried: Carried, ended: Ended) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        carried.ended.set_result(ended)
    for line in carried.lines.values():
        line.hear(None)
