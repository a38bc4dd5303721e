"""The porter's half of the channel: takes connections over, ends them when told, goes on when nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.porter.channel import Channel
from oriel.porter.download import Download
from oriel.porter.screen import Hold, Screen

__all__ = ["Carrying", "listening"]

_LOG = logging.getLogger(__name__)
EXPIRED = 4401


@dataclass(eq=False)
class _Carried:
    about: Mapping[str, Any]
    work: Screen | Download
    expiry: asyncio.TimerHandle | None = None

    def told(self) -> dict[str, Any]:
        hold = self.work.hold if isinstance(self.work, Screen) else ""
        return {"kind": self.work.kind, "about": dict(self.about), "hands": str(hold)}


class Carrying:
    """Everything that is carried, and the controller that may be told of it."""

    def __init__(self) -> None:
        self._carried: dict[str, _Carried] = {}
        self._controller: Channel | None = None

    def meet(self, sock: socket.socket) -> None:
        """A controller has connected; whichever was there before has gone, or is about to."""
        former, self._controller = self._controller, None
        if former is not None:
            former.close()
        channel = self._controller = Channel(sock, self._heard, lambda: self._left(channel))
        for carried_id, carried in self._carried.items():
            channel.send({"say": "carrying", "id": carried_id, **carried.told()})

    def close(self) -> None:
        if self._controller is not None:
            self._controller.close()
        for carried in list(self._carried.values()):
            carried.work.end(1001, "the porter ends")

    def _left(self, channel: Channel) -> None:
        if self._controller is channel:
            self._controller = None

    def _say(self, message: dict[str, Any]) -> bool:
        if self._controller is None:
            return False
        self._controller.send(message)
        return True

    def _heard(self, message: dict[str, Any], fds: list[int]) -> None:
        socks = [socket.socket(fileno=fd) for fd in fds]
        try:
            if message.get("do") == "carry":
                self._carry(message, *socks)
                socks = []
            else:
                self._follow(message)
        except (KeyError, TypeError, ValueError) as error:
            _LOG.error("the controller said what it must not: %s", error)
        finally:
            for sock in socks:
                sock.close()

    def _follow(self, message: Mapping[str, Any]) -> None:
        carried = self._carried.get(str(message["id"]))
        if carried is None:
            return  # it has just ended by itself
        if message["do"] == "end":
            carried.work.end(int(message["code"]), str(message["reason"]))
        elif isinstance(carried.work, Screen):
            match message["do"]:
                case "hands":
                    carried.work.change(Hold(message["hands"]))
                case "refuse":
                    carried.work.refuse()
                case "release":
                    carried.work.release()

    def _carry(self, message: Mapping[str, Any], client: socket.socket, desktop: socket.socket) -> None:
        carried_id = str(message["id"])
        for sock in (client, desktop):
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

        work: Screen | Download
        if message["kind"] == "screen":
            hold = Hold(message["hands"])
            work = Screen(
                client, desktop, hold, on_ended=later,
                ask=lambda what: self._say({"say": what, "id": carried_id}),
            )  # fmt: skip
        else:
            work = Download(client, desktop, int(message["size"]), later)
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
