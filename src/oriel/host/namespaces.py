"""Network namespaces by name, compatible with `ip netns`, and sockets inside them.

On Linux a socket belongs for ever to the network namespace of the thread that made it. So one thread
that has entered a namespace makes the sockets, and the event loop of the main thread uses them.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from oriel.host import process
from oriel.host.layout import NETNS_DIRECTORY
from oriel.host.mounts import unmount
from oriel.host.threads import DedicatedThread
from oriel.model.errors import HostError, LaunchError, UnavailableError
from oriel.model.wire import MAX_LINE

__all__ = ["NetnsSockets", "create_netns", "delete_netns", "list_netns", "netns_mounted"]

CLONE_NEWNET = 0x40000000
BACKLOG = 512
# <linux/if_tun.h>
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


async def create_netns(path: Path) -> None:
    """Make the named namespace `path` (below /run/netns), replacing a torn or older one."""
    delete_netns(path)
    try:
        await process.run(["ip", "netns", "add", path.name], deadline_s=10)
    except LaunchError:
        if path.name not in list_netns(path.name):
            raise
        delete_netns(path)  # made meanwhile by what a killed keeper had still started
        await process.run(["ip", "netns", "add", path.name], deadline_s=10)


def delete_netns(path: Path) -> None:
    """Take the name away; the kernel frees the namespace with its last process and socket. Idempotent."""
    unmount(path)
    path.unlink(missing_ok=True)


def list_netns(prefix: str) -> list[str]:
    """Names of namespaces that begin with `prefix`, torn ones included."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIRECTORY.iterdir() if entry.name.startswith(prefix))


def netns_mounted(path: Path) -> bool:
    """Whether `path` is a namespace, and not missing or the empty file of a torn creation."""
    try:
        return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


class NetnsSockets:
    """A thread inside a namespace that makes sockets for the event loop. Close it when done.

    Start it before capabilities are dropped: entering needs CAP_SYS_ADMIN, once. Sockets live on after
    `close`, and keep the namespace alive even when its name is gone.
    """

    def __init__(self, netns: Path, thread: DedicatedThread) -> None:
        self.netns = netns
        self._thread = thread

    @classmethod
    async def open(cls, netns: Path) -> NetnsSockets:
        """Enter `netns`. Raises HostError if there is no such namespace or we may not enter it."""
        return cls(netns, await DedicatedThread.open(f"netns {netns.name}", lambda: _enter(netns)))

    async def call(self, function: Callable[[], T]) -> T:
        """Run a short function inside the namespace; its result or exception."""
        return await self._thread.call(function)

    async def listen_tcp(self, address: str, port: int) -> socket.socket:
        """A listening, non-blocking socket. Raises HostError if the port is taken in the namespace."""
        return await self.call(lambda: _bound(socket.SOCK_STREAM, address, port))

    async def bind_udp(self, address: str, port: int) -> socket.socket:
        """A bound, non-blocking socket. Raises HostError if the port is taken in the namespace."""
        return await self.call(lambda: _bound(socket.SOCK_DGRAM, address, port))

    async def connect(
        self, address: str, port: int, *, deadline_s: float = 10
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection from inside the namespace. Raises UnavailableError with the reason."""
        where = f"{address}:{port} in {self.netns.name}"
        sock = await self.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(deadline_s):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
                return await asyncio.open_connection(sock=sock, limit=MAX_LINE)
        except TimeoutError as error:
            sock.close()
            raise UnavailableError(f"{where} did not answer within {deadline_s:g} s") from error
        except OSError as error:
            sock.close()
            # asyncio puts a sentence of its own into strerror.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UnavailableError(f"{where} cannot be reached: {reason}") from error
        except BaseException:
            sock.close()
            raise

    async def open_tap(self, device: str) -> int:
        """A descriptor of the existing tap `device`, for a VMM that may not open it by itself."""
        return await self.call(lambda: _open_tap(device))

    def close(self) -> None:
        """End the thread; idempotent."""
        self._thread.close()


def _enter(netns: Path) -> None:
    if not netns_mounted(netns):
        raise HostError(f"there is no network namespace {netns}", hint="the desktop's link was not made yet")
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise HostError(f"the network namespace {netns.name} cannot be entered: {reason}", hint="be root")
    finally:
        os.close(fd)


def _bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise HostError(f"cannot listen on {address}:{port} in the namespace: {error.strerror}") from error
    return sock


def _open_tap(device: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(fd, TUNSETIFF, request)
    except OSError as error:
        os.close(fd)
        raise HostError(f"the tap {device} cannot be opened: {error.strerror}") from error
    return fd
