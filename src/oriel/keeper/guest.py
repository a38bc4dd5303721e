"""Talking to one desktop's guest: its announcement, its agent, its screen."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oriel.host.namespaces import NetnsSockets
from oriel.keeper.relay import Streams
from oriel.model import wire
from oriel.model.errors import UnavailableError
from oriel.model.link import AGENT_PORT, GUEST_ADDRESS, VNC_PORT
from oriel.model.spec import DesktopSpec

__all__ = ["Announcements", "Guest", "machine_id"]

CDP_PORT = 9222  # on the guest's loopback: reached through the agent
CONNECT_DEADLINE_S = 10.0
SLOW_S = 60.0  # by which a guest on a slow, busy host may be late; a template is not lost for that


def machine_id(desktop_id: str) -> str:
    """The guest's /etc/machine-id: 32 hexadecimal digits, the same at every start of this desktop."""
    return hashlib.sha256(f"oriel machine-id {desktop_id}".encode()).hexdigest()[:32]


class Announcements:
    """Where the guest's agent says "I am there": a listener inside the desktop's namespace."""

    def __init__(self, server: asyncio.Server, arrived: asyncio.Event) -> None:
        self._server = server
        self._arrived = arrived

    @classmethod
    async def open(cls, listener: socket.socket, on_arrival: Callable[[], None]) -> Announcements:
        """Take over `listener`. `on_arrival` is called for each announcement; the first also ends `wait`."""
        arrived = asyncio.Event()

        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            name = writer.get_extra_info("peername")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            if name and name[0] == GUEST_ADDRESS:
                arrived.set()
                on_arrival()

        return cls(await asyncio.start_server(accept, sock=listener), arrived)

    async def wait(self) -> None:
        """Until the agent has announced itself."""
        await self._arrived.wait()

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()


class Guest:
    """One desktop's guest, spoken to from inside its namespace."""

    def __init__(self, sockets: NetnsSockets) -> None:
        self._sockets = sockets
        self._reached: Streams | None = None

    async def personalise(self, spec: DesktopSpec, *, deadline_s: float) -> dict[str, Any]:
        """Give the guest its identity: session, host name, machine id, clock, entropy, screen size."""
        identity = {
            "session_id": spec.session_id,
            "hostname": spec.name,
            "machine_id": machine_id(spec.id),
            "time_ns": time.time_ns(),
            "entropy": base64.b64encode(os.urandom(64)).decode(),
            "screen": {"width": spec.screen.width, "height": spec.screen.height},
        }
        return await self._ask("personalise", identity, deadline_s)

    async def wake(self, *, deadline_s: float) -> dict[str, Any]:
        """Tell a guest that stood still the time, and give its kernel fresh random numbers."""
        entropy = base64.b64encode(os.urandom(64)).decode()
        return await self._ask("wake", {"time_ns": time.time_ns(), "entropy": entropy}, deadline_s)

    async def open_clock(self, *, deadline_s: float) -> wire.Stream:
        """A conversation about the time: each line `{shift_ns}`, each answer `{time_ns}`."""
        return await wire.open_stream(self.open_agent, "clock", deadline_s=deadline_s)

    async def mark_generators(self, *, deadline_s: float) -> None:
        """Before a moment is kept: so that each machine that begins there draws its own random numbers."""
        await self._ask("mark_generators", {}, deadline_s)

    async def reach(self) -> None:
        """Until a restored guest takes a connection: the agent's port is open since before its moment was
        kept. The next question goes that way, so that nobody waits for a greeting."""
        self._reached = await self.open_agent()

    async def settle(self, *, least_s: float, deadline_s: float) -> dict[str, Any]:
        """Until it is idle, with everything in its memory that the first minute of a user needs."""
        asked = {"least_s": least_s, "deadline_s": deadline_s}
        return await self._ask("settle", asked, deadline_s + SLOW_S)

    async def wait_ready(self, kinds: Sequence[str], *, deadline_s: float) -> dict[str, Any]:
        """Until a window of each kind is mapped and painted."""
        args = {"kinds": list(kinds), "deadline_s": deadline_s}
        return await self._ask("wait_ready", args, deadline_s + 1)

    async def shutdown(self, *, deadline_s: float) -> None:
        """Ask it to sync its files and power off; returns when it has agreed."""
        await self._ask("shutdown", {}, deadline_s)

    async def open_agent(self) -> Streams:
        """A raw connection to the agent."""
        return await self._sockets.connect(GUEST_ADDRESS, AGENT_PORT, deadline_s=CONNECT_DEADLINE_S)

    async def open_vnc(self) -> Streams:
        """A raw connection to the guest's VNC server."""
        return await self._sockets.connect(GUEST_ADDRESS, VNC_PORT, deadline_s=CONNECT_DEADLINE_S)

    async def open_cdp(self) -> Streams:
        """A raw connection to Chrome's debugging port, which listens on the guest's loopback only."""
        stream = await wire.open_stream(
            self.open_agent, "connect", {"port": CDP_PORT}, deadline_s=CONNECT_DEADLINE_S
        )
        return stream.reader, stream.writer

    async def _ask(self, verb: str, args: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        if deadline_s <= 0:
            raise UnavailableError(f"no time was left to ask the guest {verb!r}")
        return await wire.call(self._connection, verb, args, deadline_s=deadline_s)

    async def _connection(self) -> Streams:
        reached, self._reached = self._reached, None
        return reached or await self.open_agent()
