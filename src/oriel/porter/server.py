"""The porter's half of the channel: takes connections over, ends them when told, goes on when nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.model.clipboard import Way
from oriel.porter.channel import VERSION, Channel
from oriel.porter.download import Download
from oriel.porter.screen import Hold, Screen
from oriel.porter.session import Session

__all__ = ["Carrying", "listening"]

_LOG = logging.getLogger(__name__)
EXPIRED = 4401


Work = Screen | Session | Download


@dataclass(eq=False)
class _Carried:
    about: Mapping[str, Any]
    work: Work
    expiry: asyncio.TimerHandle | None = None

    def told(self) -> dict[str, Any]:
        hold = self.work.hold if isinstance(self.work, Screen) else ""
        ends = self.work.ends if isinstance(self.work, Session) else []
        return {"kind": self.work.kind, "about": dict(self.about), "hands": str(hold), "ends": ends}


class Carrying:
    """Everything that is carried, and the controller that may be told of it.

    `on_quit`: a controller of another version says that this porter must end.
    """

    def __init__(self, on_quit: Callable[[], None] = lambda: None) -> None:
        self._on_quit = on_quit
        self._carried: dict[str, _Carried] = {}
        self._controller: Channel | None = None

    def meet(self, sock: socket.socket) -> None:
        """A controller has connected; whichever was there before has gone, or is about to."""
        former, self._controller = self._controller, None
        if former is not None:
            former.close()
        channel = self._controller = Channel(sock, self._heard, lambda: self._left(channel))
        channel.send({"say": "hello", "version": VERSION})

    def _tell_all(self, channel: Channel) -> None:
        """To a controller of our own version: what an earlier one has handed over."""
        for carried_id, carried in self._carried.items():
            channel.send({"say": "carrying", "id": carried_id, **carried.told()})
            if isinstance(carried.work, Session):
                carried.work.met()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.close()
        for carried in list(self._carried.values()):
            carried.work.end(1001, "the porter ends")

    def _left(self, channel: Channel) -> None:
        if self._controller is not channel:
            return
        self._controller = None
        for carried in self._carried.values():
            if isinstance(carried.work, Session):
                carried.work.left()

    def _say(self, message: dict[str, Any], text: str | None = None) -> bool:
        if self._controller is None:
            return False
        self._controller.send(message, text=text)
        return True

    def _heard(self, message: dict[str, Any], fds: list[int]) -> None:
        socks = [socket.socket(fileno=fd) for fd in fds]
        try:
            match message.get("do"):
                case "hello":
                    self._meet_version(message["version"])
                case "quit":
                    self._on_quit()
                case "carry":
                    self._carry(message, *socks)
                    socks = []
                case "attach":
                    self._attach(message, socks)
                case _:
                    self._follow(message)
        except (KeyError, TypeError, ValueError) as error:
            _LOG.error("the controller said what it must not: %s", error)
        finally:
            for sock in socks:
                sock.close()

    def _meet_version(self, version: int) -> None:
        if version != VERSION:
            _LOG.warning("a controller speaks version %s and this porter %s", version, VERSION)
        elif self._controller is not None:
            self._tell_all(self._controller)

    def _attach(self, message: Mapping[str, Any], socks: list[socket.socket]) -> None:
        carried = self._carried.get(str(message["id"]))
        if carried is not None and isinstance(carried.work, Session):
            sock = socks.pop()
            sock.setblocking(False)
            carried.work.attach(str(message["name"]), sock)

    def _follow(self, message: Mapping[str, Any]) -> None:
        carried = self._carried.get(str(message["id"]))
        if carried is None:
            return  # it has just ended by itself
        if message["do"] == "end":
            carried.work.end(int(message["code"]), str(message["reason"]))
        elif message["do"] == "about":
            carried.about = message["about"]
        elif isinstance(carried.work, Screen):
            match message["do"]:
                case "hands":
                    carried.work.change(Hold(message["hands"]))
                case "refuse":
                    carried.work.refuse()
                case "release":
                    carried.work.release()
        elif isinstance(carried.work, Session):
            match message["do"]:
                case "say":
                    carried.work.say(str(message["name"]), str(message["text"]))
                case "next":
                    carried.work.dealt_with(str(message["name"]))
                case "detach":
                    carried.work.detach(str(message["name"]))

    def _carry(self, message: Mapping[str, Any], *socks: socket.socket) -> None:
        carried_id = str(message["id"])
        for sock in socks:
            sock.setblocking(False)

        def ended(outcome: str) -> None:
            carried = self._carried.pop(carried_id)
            if carried.expiry is not None:
                carried.expiry.cancel()
            moved = {"bytes_in": carried.work.bytes_in, "bytes_out": carried.work.bytes_out}
            self._say({"say": "ended", "id": carried_id, "outcome": outcome, **moved})

        def later(outcome: str) -> None:
            # Even one that ends while it begins is in the list first.
            asyncio.get_running_loop().call_soon(ended, outcome)

        work: Work
        match message["kind"], socks:
            case "screen", (client, desktop):
                work = Screen(
                    client, desktop, Hold(message["hands"]),
                    clipboard=Way(message["clipboard"]), on_ended=later,
                    ask=lambda what: self._say({"say": what, "id": carried_id}),
                )  # fmt: skip
            case "session", (client,):
                work = Session(
                    client, on_ended=later,
                    tell=lambda name, text: self._say({"say": "heard", "id": carried_id, "name": name}, text),
                )  # fmt: skip
            case "download", (client, desktop):
                work = Download(client, desktop, int(message["size"]), later)
            case kind, _:
                raise ValueError(f"{len(socks)} descriptors for a {kind}")
        carried = self._carried[carried_id] = _Carried(message["about"], work)
        if (left_s := message.get("left_s")) is not None:
            end = asyncio.get_running_loop().call_later
            carried.expiry = end(float(left_s), work.end, EXPIRED, "unauthenticated")


@contextlib.asynccontextmanager
async def listening(path: Path, carrying: Carrying) -> AsyncIterator[None]:
    """Controllers of the same user may connect to `path` while the block runs."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    _remove(path)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(8)
    loop = asyncio.get_running_loop()

    def accept() -> None:
        sock, _ = listener.accept()
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid in (0, os.geteuid()):
            carrying.meet(sock)
        else:
            _LOG.warning("uid %d was refused", uid)
            sock.close()

    loop.add_reader(listener, accept)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        listener.close()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
