"""The gateway's listening sockets: opened by the keeper inside the desktop's namespace, served here."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

from oriel.egress.channel import SocketChannel, read_exactly
from oriel.egress.dial import tune
from oriel.egress.dns import MAX_QUERY, answer
from oriel.egress.names import FakeNames

__all__ = ["listen_dns_tcp", "listen_dns_udp", "listen_tcp", "log", "log_unexpected"]

ACCEPTS_AT_ONCE = 64
DATAGRAMS_AT_ONCE = 64
EXHAUSTED_PAUSE_S = 0.2
DNS_TCP_IDLE_S = 10.0
DNS_TCP_CONNECTIONS = 32

Serve = Callable[[SocketChannel], Awaitable[None]]


def log(level: str, message: str, **data: object) -> None:
    """One line of JSON on stderr."""
    sys.stderr.write(json.dumps({"level": level, "room": "egress", "message": message, **data}) + "\n")
    sys.stderr.flush()


def log_unexpected(message: str, error: BaseException) -> None:
    """The text of an unforeseen exception may quote anything: only its kind and place are logged."""
    log("error", message, kind=type(error).__name__, at=_place(error))


def listen_tcp(sock: socket.socket, serve: Serve, group: asyncio.TaskGroup) -> None:
    """Accept from `sock`, each connection served in a task of `group`. An error that `serve` did not
    expect is logged, and costs that connection only."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)

    async def guarded(channel: SocketChannel) -> None:
        try:
            await serve(channel)
        except Exception as error:
            log_unexpected("a connection failed unexpectedly", error)
            channel.abort()

    def accept() -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # Descriptors ran out: the queue stays full, so asking again at once would spin.
                log("error", "no connection could be accepted", reason=error.strerror)
                loop.remove_reader(sock)
                loop.call_later(EXHAUSTED_PAUSE_S, loop.add_reader, sock, accept)
                return
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                tune(connection)
            group.create_task(guarded(SocketChannel(connection)))

    loop.add_reader(sock, accept)


def listen_dns_udp(sock: socket.socket, names: FakeNames) -> None:
    """Answer queries that arrive on `sock`."""
    sock.setblocking(False)

    def receive() -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                query, sender = sock.recvfrom(MAX_QUERY)
                reply = answer(query, names)
                if reply is not None:
                    sock.sendto(reply, sender)
            except OSError:
                # Nothing to read, or no room to answer: a resolver asks again.
                return

    asyncio.get_running_loop().add_reader(sock, receive)


def listen_dns_tcp(sock: socket.socket, names: FakeNames, group: asyncio.TaskGroup) -> None:
    """The same over TCP, for a bounded number of connections at a time."""
    busy = 0

    async def serve(channel: SocketChannel) -> None:
        nonlocal busy
        if busy >= DNS_TCP_CONNECTIONS:
            channel.abort()
            return
        busy += 1
        try:
            while True:
                async with asyncio.timeout(DNS_TCP_IDLE_S):
                    (length,) = struct.unpack(">H", await read_exactly(channel, 2))
                    query = await read_exactly(channel, length)
                    reply = answer(query, names)
                    if length > MAX_QUERY or reply is None:
                        return
                    await channel.write(struct.pack(">H", len(reply)) + reply)
        except OSError:
            return  # it closed, or said nothing for too long
        finally:
            busy -= 1
            channel.close()

    listen_tcp(sock, serve, group)


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
