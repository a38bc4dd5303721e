"""A web server as it stands somewhere on the internet: records what reaches it, HTTP or HTTPS."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.server import TcpServer, read_exactly, read_head


@dataclass
class Seen:
    """One request as the origin saw it. `head` is the raw head, `peer` the address it came from."""

    method: str
    path: str
    head: bytes
    body: bytes
    peer: str

    def header(self, name: str) -> list[str]:
        """All values of that header field."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.split(":", 1) for line in lines)
        return [value.strip() for key, value in pairs if key.lower() == name.lower()]


@dataclass
class Authority:
    """A certificate authority of the test's own. `pem` is its certificate."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._sign("test authority", self.key.public_key(), [], is_authority=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, directory: Path, *names: str) -> ssl.SSLContext:
        """A TLS server's context for `names` (host names or addresses); files are put into `directory`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issue(directory, *names))
        return context

    def issue(self, directory: Path, *names: str) -> Path:
        """A new certificate for `names` with its key before it, in one file of `directory`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(names[0], key.public_key(), list(names), is_authority=False)
        path = directory / f"{names[0].replace(':', '_')}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.pem)

    def _sign(
        self, name: str, key: ec.EllipticCurvePublicKey, names: list[str], *, is_authority: bool
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=is_authority, crl_sign=is_authority, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Origin(TcpServer):
    """Answers `/ip` with the caller's address, `/bytes/N` with N bytes, `/chunked` in three chunks,
    `/close` without a length, `/status/N`, `/upgrade` with 101 and an echo, all else with "hello".

    `seen` holds each request in order. `banner`: instead, send this first and then echo (no HTTP).
    """

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        banner: bytes | None = None,
    ) -> None:
        super().__init__(self._talk, address=address, port=port)
        self.tls = tls
        self.banner = banner
        self.seen: list[Seen] = []

    def _talk(self, sock: socket.socket) -> None:
        if self.banner is not None:
            sock.sendall(self.banner)
            _echo(sock)
            return
        while self._exchange(sock):
            pass

    def _exchange(self, sock: socket.socket) -> bool:
        head, rest = read_head(sock)
        method, path, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        seen = Seen(method, path, head, b"", sock.getpeername()[0])
        if length := seen.header("content-length"):
            seen.body = rest + read_exactly(sock, int(length[0]) - len(rest))
        elif seen.header("transfer-encoding"):
            seen.body = rest
            while not seen.body.endswith(b"0\r\n\r\n"):
                seen.body += read_exactly(sock, 1)
        self.seen.append(seen)
        return self._answer(sock, seen)

    def _answer(self, sock: socket.socket, seen: Seen) -> bool:
        path = seen.path.partition("?")[0]
        if path == "/upgrade":
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            _echo(sock)
            return False
        if path == "/chunked":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in (b"one ", b"two ", b"three"):
                sock.sendall(b"%x;ext=1\r\n%b\r\n" % (len(part), part))
            sock.sendall(b"0\r\nTrailer: dropped\r\n\r\n")
            return "close" not in seen.header("connection")
        if path == "/close":
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            return False
        status, content = 200, b"hello"
        if path == "/ip":
            content = seen.peer.encode()
        elif path.startswith("/bytes/"):
            content = b"x" * int(path.removeprefix("/bytes/"))
        elif path.startswith("/status/"):
            status = int(path.removeprefix("/status/"))
        head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(content)}\r\nX-Origin: yes\r\n\r\n"
        sock.sendall(head.encode() + (b"" if seen.method == "HEAD" else content))
        return "close" not in seen.header("connection")


def _echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
