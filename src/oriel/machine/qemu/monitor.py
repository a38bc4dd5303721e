"""Talking to a running QEMU over its monitor (QMP), one connection per command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError

from oriel.model.errors import HostError, UnavailableError

__all__ = ["command", "listen", "load_devices", "save_devices"]

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
    async with _connected(path, name, deadline_s) as client:
        return await client.execute(name, arguments or None)


async def save_devices(path: Path, fd: int, *, deadline_s: float) -> None:
    """Write the state of all devices, without memory and disks, into the open file `fd`.

    QEMU opens it again by its number, so the file must be QEMU's user's to open.
    """
    async with _connected(path, "xen-save-devices-state", deadline_s) as client:
        client.send_fd_scm(fd)
        added: Any = await client.execute("add-fd")
        try:
            name = f"/proc/self/fd/{added['fd']}"
            await client.execute("xen-save-devices-state", {"filename": name, "live": False})
        finally:
            await client.execute("remove-fd", {"fdset-id": added["fdset-id"], "fd": added["fd"]})


async def load_devices(path: Path, fd: int, *, deadline_s: float) -> None:
    """Have a QEMU that waits for a migration take what `save_devices` wrote for one. It stays halted."""
    async with _connected(path, "migrate-incoming", deadline_s) as client:
        events = [{"capability": "events", "state": True}]
        await client.execute("migrate-set-capabilities", {"capabilities": events})
        client.send_fd_scm(fd)
        await client.execute("getfd", {"fdname": "devices"})
        told = EventListener("MIGRATION")
        with client.listen(told):
            await client.execute("migrate-incoming", {"uri": "fd:devices"})
            # One that fails ends QEMU, and so the connection.
            event: Any = {"data": {"status": "setup"}}
            while event["data"]["status"] != "completed":
                event = await told.get()


@contextlib.asynccontextmanager
async def _connected(path: Path, name: str, deadline_s: float) -> AsyncIterator[QMPClient]:
    client = QMPClient()
    try:
        async with asyncio.timeout(deadline_s):
            await client.connect(str(path))
            yield client
    except (*_LOST, QMPError, TimeoutError) as error:
        raise UnavailableError(f"QEMU's monitor did not do {name!r}: {error or 'no answer'}") from error
    finally:
        # The library tells here how the connection ended, also when what was asked for ended it ("quit").
        with contextlib.suppress(*_LOST, QMPError):
            await client.disconnect()
