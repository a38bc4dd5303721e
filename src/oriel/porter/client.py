"""The controller's half of the channel: hands connections over, learns of those still carried."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.porter.channel import Channel

__all__ = ["Carried", "Ended", "Porter"]

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


class Porter:
    """`on_found` is called with each connection that an earlier controller has handed over."""

    def __init__(self, path: Path, on_found: Callable[[Carried], None]) -> None:
        self._path = path
        self._on_found = on_found
        self._channel: Channel | None = None
        self._carried: dict[str, Carried] = {}
        self._gone = asyncio.Event()

    @property
    def there(self) -> bool:
        """Whether it would take a connection now."""
        return self._channel is not None

    async def keep(self) -> None:
        """Stay connected with it, whenever there is one; until cancelled. Then what it carries goes on."""
        try:
            while True:
                if await self._connect():
                    await self._gone.wait()
                # Not an event: a socket that is not there yet cannot tell when it will be.
                await asyncio.sleep(RETRY_S)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it: it goes on by itself."""
        if self._channel is not None:
            self._channel.close()

    def carry(
        self, client: socket.socket, desktop: socket.socket, kind: str, about: Mapping[str, Any],
        *, hands: str = "", size: int = 0, left_s: float | None = None,
    ) -> Carried | None:  # fmt: skip
        """Hand both ends over; they are closed here. None, and nothing was done, if there is no porter."""
        channel = self._channel
        if channel is None:
            return None
        carried = Carried(secrets.token_hex(8), kind, about, hands, channel)
        self._carried[carried.id] = carried
        message = {
            "do": "carry", "id": carried.id, "kind": kind, "about": dict(about),
            "hands": hands, "size": size, "left_s": left_s,
        }  # fmt: skip
        channel.send(message, (client.fileno(), desktop.fileno()))
        client.close()
        desktop.close()
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
        self._channel = Channel(sock, self._heard, self._closed)
        return True

    def _heard(self, message: dict[str, Any], _fds: list[int]) -> None:
        carried_id = str(message.get("id", ""))
        if message.get("say") == "carrying" and self._channel is not None:
            found = Carried(carried_id, message["kind"], message["about"], message["hands"], self._channel)
            self._carried[carried_id] = found
            self._on_found(found)
            return
        carried = self._carried.get(carried_id)
        if carried is None:
            return
        match message["say"]:
            case "wants":
                carried.on_wants()
            case "used":
                carried.on_used()
            case "ended":
                del self._carried[carried_id]
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
