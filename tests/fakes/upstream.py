"""An upstream proxy as a provider runs it: real sockets, Basic or SOCKS5 credentials, a record of all."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fakes.server import TcpServer, read_exactly, read_head, relay

Address = tuple[str, int]


@dataclass(frozen=True)
class Asked:
    """One request to the proxy: `host:port`, the raw head (HTTP) and whether its credentials were right."""

    authority: str
    head: bytes
    authorized: bool


class UpstreamProxy(TcpServer):
    """`hosts` says where each name (or `name:port`) it is asked for really is: `("127.0.0.1", port)`.

    Names that are not in it are answered 502. `source` is the address from which origins see it, any of
    127.0.0.0/8. `kind`: http, https (needs `tls`), socks5. Without `username` it is open to all.
    """

    def __init__(
        self,
        *,
        username: str = "",
        password: str = "",
        kind: str = "http",
        hosts: Mapping[str, Address] | None = None,
        source: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(
            self._serve_socks if kind == "socks5" else self._serve_http, address=address, port=port
        )
        self.username, self.password = username, password
        self.kind, self.source, self.tls = kind, source, tls
        self.hosts: dict[str, Address] = dict(hosts or {})
        self.forbidden_ports: set[int] = set()  # answered 403
        self.asked: list[Asked] = []
        self._record = threading.Lock()

    @property
    def url(self) -> str:
        """As a user would paste it, credentials percent-encoded by hand of nobody: keep them plain."""
        credentials = f"{self.username}:{self.password}@" if self.username else ""
        return f"{self.kind}://{credentials}{self.address}:{self.port}"

    @property
    def authorities(self) -> list[str]:
        """What was asked for with the right credentials, in order."""
        return [item.authority for item in self.asked if item.authorized]

    def _note(self, authority: str, head: bytes, authorized: bool) -> bool:
        with self._record:
            self.asked.append(Asked(authority, head, authorized))
        return authorized

    def _dial(self, authority: str) -> socket.socket | None:
        host = authority.rpartition(":")[0]
        place = self.hosts.get(authority) or self.hosts.get(host)
        if place is None:
            return None
        with contextlib.suppress(OSError):
            made = socket.create_connection(place, timeout=10, source_address=(self.source, 0))
            made.settimeout(None)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        return None

    def _serve_http(self, sock: socket.socket) -> None:
        head, rest = read_head(sock)
        method, target, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        authority = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        if ":" not in authority:
            authority += ":80"
        if not self._note(authority, head, self._basic_is_right(head)):
            sock.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="provider"\r\nContent-Length: 0\r\n\r\n'
            )
            return
        if int(authority.rpartition(":")[2]) in self.forbidden_ports:
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        origin = self._dial(authority)
        if origin is None:
            sock.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with origin:
            if method == "CONNECT":
                sock.sendall(b"HTTP/1.1 200 OK\r\nX-Provider: fake\r\n\r\n")
                origin.sendall(rest)
            else:
                # One request per connection in absolute form, handed on in origin form.
                path = "/" + target.removeprefix("http://").partition("/")[2]
                lines = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(b"proxy-")]
                start = f"{method} {path} HTTP/1.1\r\nConnection: close\r\n"
                origin.sendall(start.encode() + b"\r\n".join(lines) + rest)
            relay(sock, origin)

    def _basic_is_right(self, head: bytes) -> bool:
        if not self.username:
            return True
        wanted = base64.b64encode(f"{self.username}:{self.password}".encode())
        return any(
            line.lower().startswith(b"proxy-authorization:") and line.split(b" ")[-1] == wanted
            for line in head.split(b"\r\n")
        )

    def _serve_socks(self, sock: socket.socket) -> None:
        version, count = read_exactly(sock, 2)
        methods = read_exactly(sock, count)
        method = 2 if self.username else 0
        if version != 5 or method not in methods:
            sock.sendall(b"\x05\xff")
            return
        sock.sendall(bytes((5, method)))
        authorized = method == 0 or self._socks_login(sock)
        if not authorized:
            self._note("", b"", False)
            return
        authority = _socks_authority(sock)
        self._note(authority, b"", True)
        origin = self._dial(authority)
        if origin is None:
            sock.sendall(b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00")
            return
        with origin:
            sock.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
            relay(sock, origin)

    def _socks_login(self, sock: socket.socket) -> bool:
        username = read_exactly(sock, read_exactly(sock, 2)[1])
        password = read_exactly(sock, read_exactly(sock, 1)[0])
        right = (username.decode(), password.decode()) == (self.username, self.password)
        sock.sendall(b"\x01\x00" if right else b"\x01\x01")
        return right


def _socks_authority(sock: socket.socket) -> str:
    kind = read_exactly(sock, 4)[3]
    if kind == 1:
        host = socket.inet_ntop(socket.AF_INET, read_exactly(sock, 4))
    elif kind == 4:
        host = f"[{ipaddress.IPv6Address(read_exactly(sock, 16))}]"
    else:
        host = read_exactly(sock, read_exactly(sock, 1)[0]).decode()
    (port,) = struct.unpack(">H", read_exactly(sock, 2))
    return f"{host}:{port}"
