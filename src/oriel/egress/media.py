"""The live view's way between a viewer and the guest: packets of one admitted pair, and of nobody else.

ICE ends here, on both sides. To the viewer we are an ICE-lite agent on a port of the host, to the guest one
on 192.168.0.1; each session has credentials of its own for each side, and the guest never sees the
viewer's. So a guest that tells all it knows to the world opens nothing, and the world learns nothing of a
viewer from it.
What is not STUN is DTLS or SRTP between the two: it is passed on unread, to nobody but the other of its pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from oriel.egress.stun import answer_to, is_genuine, is_stun, parse_check
from oriel.model.errors import BusyError, NotFoundError, UnavailableError

__all__ = ["Credentials", "MediaRelay"]

MOST_SESSIONS = 64
MOST_PATHS = 16  # addresses a viewer's checks came from; the oldest is forgotten
MOST_CONNECTIONS = 64  # by TCP, for the whole desktop
ADMISSION_S = 10.0  # for a TCP connection to show its first good check
PACKET = 2048  # bytes; larger ones are neither DTLS nor SRTP of ours
ANY_TRIES = 20
BATCH = 64  # packets taken in one turn of the loop, so that others get theirs
MOST_UNSENT = (
    1 << 18
)  # bytes of a TCP connection that its viewer has not taken: then packets are lost, as by UDP
BUFFER = 1 << 20


class Path(Protocol):
    """Where a viewer can be reached."""

    @property
    def peer(self) -> tuple[str, int]: ...

    def send(self, data: bytes | memoryview) -> None: ...


@dataclass(frozen=True)
class Credentials:
    """What a check must carry (RFC 8445, 5.3)."""

    ufrag: str
    password: bytes

    @staticmethod
    def issue() -> Credentials:
        # "/" and "+" are the only signs besides letters and digits that ICE allows.
        return Credentials(secrets.token_hex(4), secrets.token_hex(16).encode())

    def to_wire(self) -> dict[str, str]:
        return {"ufrag": self.ufrag, "pwd": self.password.decode()}


@dataclass(eq=False)
class Session:
    """One peer connection. `path`: where the viewer wants its packets."""

    name: str
    viewer: list[Credentials]  # the newest last; the one before it is good until the change is complete
    guest: Credentials
    guest_address: tuple[str, int] | None = None
    path: Path | None = None
    paths: list[Path] = field(default_factory=list)


class MediaRelay:
    """All of one desktop. `inside`: a UDP socket of the guest's network."""

    def __init__(self, inside: socket.socket) -> None:
        self._inside = inside
        self._sessions: dict[str, Session] = {}
        self._by_ufrag: dict[str, tuple[Session, Credentials]] = {}
        self._by_path: dict[Path, Session] = {}
        self._by_guest: dict[tuple[str, int], Session] = {}
        self._outside: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._port = 0
        self.bytes_in = self.bytes_out = 0
        inside.setblocking(False)
        asyncio.get_running_loop().add_reader(inside, self._from_guest)

    async def open(self, addresses: Sequence[str], port: int) -> dict[str, Any]:
        """Begin a session; listens on `port` (0: any) of `addresses` from the first one on.

        UnavailableError if the port cannot be had, BusyError beyond MOST_SESSIONS.
        """
        if len(self._sessions) >= MOST_SESSIONS:
            raise BusyError("too many viewers", retry_after_s=10, hint="close some")
        if not self._port:
            await self._listen(addresses, port)
        session = Session(secrets.token_hex(8), [Credentials.issue()], Credentials.issue())
        self._sessions[session.name] = session
        for credentials in (session.viewer[0], session.guest):
            self._by_ufrag[credentials.ufrag] = (session, credentials)
        return {
            "session": session.name, "port": self._port,
            "viewer": session.viewer[0].to_wire(), "guest": session.guest.to_wire(),
        }  # fmt: skip

    def restart(self, name: str) -> dict[str, Any]:
        """New credentials for the viewer; those before the last are void. NotFoundError if it has ended."""
        session = self._sessions.get(name)
        if session is None:
            raise NotFoundError("that session of the live view has ended")
        session.viewer.append(Credentials.issue())
        while len(session.viewer) > 2:
            del self._by_ufrag[session.viewer.pop(0).ufrag]
        self._by_ufrag[session.viewer[-1].ufrag] = (session, session.viewer[-1])
        return {"viewer": session.viewer[-1].to_wire()}

    def end(self, name: str) -> None:
        """Nothing of it passes from now on. Idempotent."""
        session = self._sessions.pop(name, None)
        if session is None:
            return
        for credentials in (*session.viewer, session.guest):
            del self._by_ufrag[credentials.ufrag]
        for path in session.paths:
            self._forget(path)
        if session.guest_address is not None:
            self._by_guest.pop(session.guest_address, None)

    def close(self) -> None:
        """End all, and stop listening."""
        for name in list(self._sessions):
            self.end(name)
        loop = asyncio.get_running_loop()
        for sock in (self._inside, *self._outside):
            loop.remove_reader(sock)
            sock.close()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()

    async def _listen(self, addresses: Sequence[str], port: int) -> None:
        """On `port`; with 0 on any that is free for UDP and TCP alike, which no system can be asked for."""
        for _ in range(0 if port else ANY_TRIES):
            with contextlib.suppress(UnavailableError):
                return await self._bind(addresses, 0)
        return await self._bind(addresses, port)

    async def _bind(self, addresses: Sequence[str], port: int) -> None:
        loop = asyncio.get_running_loop()
        opened: list[socket.socket] = []
        servers: list[asyncio.Server] = []
        try:
            for address in addresses:
                opened.append(_bound(address, port))
                port = port or opened[0].getsockname()[1]
                server = await loop.create_server(
                    lambda: _Connection(self), address, port, reuse_address=True
                )
                servers.append(server)
        except OSError as error:
            for sock in opened:
                sock.close()
            for server in servers:
                server.close()
            raise UnavailableError(
                f"the live view's port {port} cannot be had: {error.strerror or error}",
                hint="another program has it: choose another `media_port`",
                code="media_port_taken",
            ) from error
        self._outside, self._servers, self._port = opened, servers, port
        for sock in opened:
            loop.add_reader(sock, self._from_viewers, sock)

    # --- packets

    def _from_viewers(self, sock: socket.socket) -> None:
        for data, peer in _packets(sock):
            self.take(_Datagrams(sock, peer), data)

    def _from_guest(self) -> None:
        for data, peer in _packets(self._inside):
            session = self._by_guest.get(peer)
            if is_stun(data):
                self._guest_check(data, peer)
            elif session is not None and session.path is not None:
                self.bytes_out += len(data)
                session.path.send(data)

    def take(self, path: Path, data: bytes) -> bool:
        """A packet that came by `path`; whether that belongs to a session, now."""
        if is_stun(data):
            self.check(data, path)
        elif (session := self._by_path.get(path)) is not None:
            self._to_guest(session, data)
        return path in self._by_path

    def _to_guest(self, session: Session, data: bytes) -> None:
        if session.guest_address is not None:
            self.bytes_in += len(data)
            with contextlib.suppress(OSError):  # a full queue, a guest that is gone: lost like any datagram
                self._inside.sendto(data, session.guest_address)

    def check(self, data: bytes, path: Path) -> None:
        """A viewer's check: answered if it carries a session's credentials, which admits where it is from."""
        check = parse_check(data)
        found = self._by_ufrag.get(check.ours) if check is not None else None
        if check is None or found is None:
            return
        session, credentials = found
        if credentials is session.guest or not is_genuine(check, credentials.password):
            return
        if credentials is session.viewer[-1] or session.path is None:
            self._admit(session, path)
            if check.nominates or session.path is None:
                session.path = path
        path.send(answer_to(check, credentials.password, *path.peer))

    def _admit(self, session: Session, path: Path) -> None:
        if self._by_path.get(path) is session:
            return
        self._by_path[path] = session
        session.paths.append(path)
        while len(session.paths) > MOST_PATHS:
            oldest = next(old for old in session.paths if old is not session.path)
            session.paths.remove(oldest)
            self._forget(oldest)

    def _forget(self, path: Path) -> None:
        self._by_path.pop(path, None)
        if isinstance(path, _Connection):
            path.abort()

    def _guest_check(self, data: bytes, peer: tuple[str, int]) -> None:
        check = parse_check(data)
        found = self._by_ufrag.get(check.ours) if check is not None else None
        if check is None or found is None:
            return
        session, credentials = found
        if credentials is not session.guest or not is_genuine(check, credentials.password):
            return
        if session.guest_address != peer:
            if session.guest_address is not None:
                self._by_guest.pop(session.guest_address, None)
            session.guest_address = peer
            self._by_guest[peer] = session
        with contextlib.suppress(OSError):
            self._inside.sendto(answer_to(check, credentials.password, *peer), peer)

    # --- TCP

    def joined(self, connection: _Connection) -> bool:
        """Whether there is room for one more connection."""
        if len(self._connections) >= MOST_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def left(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        session = self._by_path.pop(connection, None)
        if session is not None:
            session.paths.remove(connection)
            if session.path is connection:
                session.path = session.paths[-1] if session.paths else None


@dataclass(frozen=True, slots=True)
class _Datagrams:
    """A viewer's address, as seen by one of our UDP sockets."""

    sock: socket.socket
    peer: tuple[str, int]

    def send(self, data: bytes | memoryview) -> None:
        with contextlib.suppress(OSError):  # a full queue, an address that went away: lost like any datagram
            self.sock.sendto(data, self.peer)


class _Connection(asyncio.Protocol):
    """A viewer by TCP (RFC 6544): each packet after its length in two bytes (RFC 4571)."""

    def __init__(self, relay: MediaRelay) -> None:
        self._relay = relay
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.peer = ("0.0.0.0", 0)  # noqa: S104 - nobody yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a socket's is
        self._transport = transport
        self.peer = transport.get_extra_info("peername")[:2]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._relay.joined(self):
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().call_later(ADMISSION_S, self.abort)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2:
            length = int.from_bytes(self._buffer[:2], "big")
            if length > PACKET:
                self.abort()
                return
            if len(self._buffer) < 2 + length:
                return
            packet = bytes(self._buffer[2 : 2 + length])
            del self._buffer[: 2 + length]
            if self._relay.take(self, packet) and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    def send(self, data: bytes | memoryview) -> None:
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size() < MOST_UNSENT:
            transport.write(len(data).to_bytes(2, "big") + bytes(data))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._relay.left(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _packets(sock: socket.socket) -> list[tuple[bytes, Any]]:
    """What has arrived, at most BATCH."""
    found = []
    for _ in range(BATCH):
        try:
            data, peer = sock.recvfrom(PACKET)
        except BlockingIOError:
            break
        except OSError:
            continue  # an ICMP error for something sent earlier
        found.append((data, peer[:2]))
    return found


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
