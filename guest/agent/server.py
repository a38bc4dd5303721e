"""Listening, the check of who connects, and the announcement that the agent is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import traceback

from agent.settings import Settings
from agent.verbs import Verbs
from oriel.model import wire
from oriel.model.errors import OrielError

__all__ = ["announce", "serve"]

IP_FREEBIND = 15  # <linux/in.h>: bind before the interface has its address


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. With port 0 the chosen port is printed as the first line."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    verbs = Verbs(settings)
    verbs.begin()
    handlers = verbs.handlers()
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("peername", ("",))[0] != settings.allow:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        await wire.handle_connection(reader, writer, handlers, on_unknown_error=unknown_error)

    listener = _listen(settings)
    server = await asyncio.start_server(connected, sock=listener, limit=wire.MAX_LINE)
    if settings.port == 0:
        print(listener.getsockname()[1], flush=True)
    async with asyncio.TaskGroup() as group:
        announcing = group.create_task(announce(settings.announce)) if settings.announce else None
        await stop.wait()
        server.close()
        if announcing is not None:
            announcing.cancel()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _listen(settings: Settings) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    sock.bind((settings.address, settings.port))
    return sock


async def announce(endpoint: tuple[str, int]) -> None:
    """Connect and close, until taken. The link may not be up yet, nor the keeper listening again."""
    pause = 0.05
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(*endpoint)
            await wire.close(writer)
            return
        await asyncio.sleep(pause)
        pause = min(1.0, pause * 2)


def unknown_error(error: BaseException) -> OrielError:
    """Log a fault of our own under an id, and answer one neutral sentence with it."""
    number = os.urandom(4).hex()
    print(f"internal error {number}:", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    return OrielError(
        f"the guest's agent failed (error {number})",
        hint=f"`journalctl -u oriel-agent` in the desktop shows error {number}",
    )
