"""A small internet of the tests' own: one namespace with the addresses that a desktop might attack.

The host can reach every one of them, and nothing leads on from there: what a desktop leaks ends here, and
is counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PUBLIC = "203.0.113.10"  # where origins stand
HOST = "203.0.113.1"  # the host's own address in this world
EXITS = ("203.0.113.21", "203.0.113.22")  # from which two providers' proxies are seen
PUBLIC_6, HOST_6 = "2001:db8:77::10", "2001:db8:77::1"
METADATA = "169.254.169.254"
PRIVATE = ("10.77.0.1", "172.16.77.1", "192.168.77.1", "100.64.77.1")
TARGETS = (PUBLIC, METADATA, *PRIVATE)
TCP_PORTS = (22, 80, 443, 3128, 8080)
UDP_PORTS = (53, 123, 443, 3478)
ORIGIN_PORT, SECURE_PORT = 8000, 8443  # of web servers that providers' proxies, and nobody else, lead to
NETNS = "oriel-attack-world"
OUTSIDE, INSIDE = "orielw0", "orielw1"
ETH_P_ALL = 3
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class World:
    """`arrived`: what came, as (protocol, port, from). `frames`: every frame that came."""

    arrived: list[tuple[str, int, str]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    _opened: list[socket.socket] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _over: bool = False

    def open(self) -> None:
        with entered(NETNS):
            for port in TCP_PORTS:
                self._listen(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
            for port in UDP_PORTS:
                sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", port))
                self._listen(sock)
            capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            capture.bind((INSIDE, 0))
            self._listen(capture)
        self._thread = threading.Thread(target=self._serve, name="world", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._thread.join(10)
        for sock in self._opened:
            sock.close()

    def _listen(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._opened.append(sock)
        self._selector.register(sock, selectors.EVENT_READ)

    def _serve(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.2):
                with contextlib.suppress(OSError):
                    self._take(key.fileobj)  # type: ignore[arg-type]

    def _take(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_PACKET:
            frame, where = sock.recvfrom(65536)
            if where[2] != socket.PACKET_OUTGOING:  # what the world itself answers is nobody's attack
                self.frames.append(frame)
        elif sock.type == socket.SOCK_STREAM:
            connection, sender = sock.accept()
            self.arrived.append(("tcp", sock.getsockname()[1], sender[0].removeprefix("::ffff:")))
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nworld")
        else:
            data, sender = sock.recvfrom(65536)
            self.arrived.append(("udp", sock.getsockname()[1], sender[0].removeprefix("::ffff:")))
            sock.sendto(data, sender)

    # -- what the host does

    def show(self, *addresses: str, port: int = 80) -> None:
        """That the host itself reaches each address, and that it is counted: so an attack could succeed."""
        for address in addresses:
            before = len(self.arrived)
            with socket.create_connection((address, port), timeout=10) as connection:
                assert b"world" in connection.makefile("rb").read()
            assert len(self.arrived) > before
        self.forget()

    def show_udp(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"shown", (address, port))
            assert sock.recv(100) == b"shown"
        self.forget()

    def forget(self) -> None:
        self.settle()
        self.arrived.clear()
        self.frames.clear()

    def settle(self) -> None:
        """One datagram of our own: what was sent before it has arrived, and is counted."""
        mark = os.urandom(16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(mark, (PUBLIC, UDP_PORTS[-1]))
            assert sock.recv(100) == mark
            own = sock.getsockname()[1].to_bytes(2, "big")
        while not any(mark in frame for frame in list(self.frames)):
            threading.Event().wait(0.01)
        self.arrived.pop(max(i for i, one in enumerate(self.arrived) if one[:2] == ("udp", UDP_PORTS[-1])))
        self.frames[:] = [frame for frame in self.frames if mark not in frame and own not in frame[34:36]]

    def untouched(self) -> None:
        """Nothing has come since `show`: no connection, no datagram, no frame but the neighbours' own."""
        self.settle()
        assert self.arrived == []
        strange = [frame for frame in self.frames if not (neighbourly(frame) or of_a_provider(frame))]
        assert not strange, strange[:3]


def neighbourly(frame: bytes) -> bool:
    """ARP, and IPv6 that the kernel says by itself to its link: ICMPv6 to link-local or multicast."""
    kind = frame[12:14]
    if kind == b"\x08\x06":
        return True
    return kind == b"\x86\xdd" and (frame[38] == 0xFF or frame[22:24] == b"\xfe\x80" or frame[20] == 58)


def of_a_provider(frame: bytes) -> bool:
    """Between a provider's proxy and an origin: a gateway may always ask which address the world sees."""
    ends = {socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])}
    ports = {int.from_bytes(frame[34:36], "big"), int.from_bytes(frame[36:38], "big")}
    return frame[12:14] == b"\x08\x00" and bool(ends & {*EXITS}) and bool(ports & {ORIGIN_PORT, SECURE_PORT})


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Sockets made in the block belong to that namespace. For this thread only."""
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{name}").open() as there:
        assert _libc.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert _libc.setns(before.fileno(), 0) == 0


@contextlib.contextmanager
def world() -> Iterator[World]:
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=10)

    def inside(*words: str) -> None:
        ip("-n", NETNS, *words)

    def take_down() -> None:
        subprocess.run(["ip", "link", "del", OUTSIDE], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", NETNS], capture_output=True, check=False)

    take_down()  # of a run that was killed
    made = World()
    try:
        ip("netns", "add", NETNS)
        ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", INSIDE, "netns", NETNS)
        for address in (f"{HOST}/24", *(f"{address}/32" for address in EXITS), f"{HOST_6}/64"):
            ip("addr", "add", address, "dev", OUTSIDE, *["nodad"] * (":" in address))
        for address in (f"{PUBLIC}/24", *(f"{address}/32" for address in TARGETS[1:]), f"{PUBLIC_6}/64"):
            inside("addr", "add", address, "dev", INSIDE, *["nodad"] * (":" in address))
        inside("link", "set", "lo", "up")
        inside("link", "set", INSIDE, "up")
        ip("link", "set", OUTSIDE, "up")
        inside("route", "add", "default", "via", HOST)
        for address in TARGETS[1:]:
            ip("route", "add", f"{address}/32", "via", PUBLIC, "src", HOST)
        made.open()
        yield made
        made.close()
    finally:
        take_down()


@contextlib.contextmanager
def host_names(directory: Path, **names: str) -> Iterator[dict[str, str]]:
    """Names that this host resolves, while the block lasts. The dictionary may be changed meanwhile; call
    `write`. No file of the host is changed: a copy is laid over /etc/hosts."""
    copy = directory / "hosts"
    original = Path("/etc/hosts").read_text()

    class Names(dict[str, str]):
        def write(self) -> None:
            lines = [f"{address} {name}" for name, address in self.items()]
            copy.write_text(original + "\n" + "\n".join(lines) + "\n")

    known = Names(names)
    known.write()
    subprocess.run(["mount", "--bind", copy, "/etc/hosts"], check=True)
    try:
        yield known
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=True)
