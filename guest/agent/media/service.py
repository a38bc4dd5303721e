"""`oriel-webrtc.service`: begun by its socket with the first session, gone some minutes after the last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

from agent.display import Display
from agent.input import Input
from agent.media.session import Session, Shared
from agent.media.sound import Sound
from agent.media.stream import Stream
from oriel.model import wire
from oriel.model.errors import OrielError

__all__ = ["serve"]

LISTEN_FDS_START = 3  # sd_listen_fds(3)
IDLE_S = 300.0
DISPLAY = os.environ.get("DISPLAY", ":1")


async def serve(listener: socket.socket) -> None:
    """Serve sessions until SIGTERM, or nobody has come for IDLE_S."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hands = Display(DISPLAY)
    shared = Shared(Stream(Display(DISPLAY)), hands, Input(hands), Sound())
    sessions: set[asyncio.Task[None]] = set()
    leaving = loop.call_later(IDLE_S, stop.set)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal leaving
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        sessions.add(task)
        leaving.cancel()
        try:
            await Session(shared, reader, writer).run()
        except (OrielError, OSError) as error:
            print(f"a session ended: {error}", flush=True)
        finally:
            sessions.discard(task)
            await wire.close(writer)
            if not sessions:
                leaving = loop.call_later(IDLE_S, stop.set)

    server = await asyncio.start_server(connected, sock=listener, limit=wire.MAX_LINE)
    await stop.wait()
    server.close()
    for task in list(sessions):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*sessions, return_exceptions=True)


def inherited() -> socket.socket:
    """The socket that systemd listened on for us."""
    return socket.socket(fileno=LISTEN_FDS_START)
