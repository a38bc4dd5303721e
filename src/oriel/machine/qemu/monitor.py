"""Talking to a running QEMU over its monitor (QMP), one connection per command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from oriel.model.errors import HostError, UnavailableError

__all__ = ["command", "listen"]

# How a connection ends when QEMU does.
_LOST = (OSError, asyncio.IncompleteReadError, EOFError)

# The library logs every failure that it also raises.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


def listen(path: Path) -> socket.socket:
    """The monitor's listening socket, to be handed to QEMU. HostError if the path is too long for one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        sock.listen(1)
    except OSError as error:
        sock.close()
        raise HostError(f"the socket {path} cannot be made: {error}", hint="use a shorter home") from error
    return sock


async def command(path: Path, name: str, *, deadline_s: float, **arguments: Any) -> Any:
    """Run one QMP command and return its result. UnavailableError if QEMU does not answer in time."""
    client = QMPClient()
    try:
        async with asyncio.timeout(deadline_s):
            await client.connect(str(path))
            return await client.execute(name, arguments or None)
    except (*_LOST, QMPError, TimeoutError) as error:
        raise UnavailableError(f"QEMU's monitor did not do {name!r}: {error or 'no answer'}") from error
    finally:
        # The library tells here how the connection ended, also when what was asked for ended it ("quit").
        with contextlib.suppress(*_LOST, QMPError):
            await client.disconnect()
