"""`sudo apt-get install` through the desktop's way out, from an origin that is ours: a package made here.

The origin is the last hop of an upstream proxy that this process is for as long as the check runs. It knows
one name, which no resolver does: what arrives here has come by the gateway, and nothing else is reached.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import secrets
import tarfile
from types import TracebackType

from oriel.image.verify.inside import Inside, Verdict
from oriel.image.verify.looks import Look, looked

__all__ = ["Mirror", "installed", "package"]

NAME = "oriel-verify"
HOST = "packages.example"  # RFC 2606
DATE = "Thu, 01 Jan 2026 00:00:00 UTC"


class Mirror:
    """A proxy on loopback that leads to one repository with one package. Serves within `async with`."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(8)
        self.asked: list[str] = []
        self._files = repository(self.secret)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Mirror:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None  # noqa: S101 - for mypy: entered before
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None  # noqa: S101 - for mypy: entered before
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            target = head.split(" ", 2)[1]
            self.asked.append(target)
            content = self._files.get(target.removeprefix(f"http://{HOST}/"))
            status = "404 Not Found" if content is None else "200 OK"
            body = content or b""
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, IndexError):
            return  # whoever asks is a guest: it may also ask nonsense, or go
        finally:
            writer.close()


async def installed(inside: Inside, mirror: Mirror) -> Verdict:
    """The check. Takes the package out again."""
    options = "-o Dir::Etc::sourcelist=/run/oriel-verify.list -o Dir::Etc::sourceparts=-"
    verdict = await looked(
        inside,
        Look(
            "apt_through_the_proxy",
            f"echo 'deb [trusted=yes] http://{HOST} ./' | sudo tee /run/oriel-verify.list >/dev/null && "
            f"sudo apt-get {options} -qq update && "
            f"sudo apt-get {options} -qq install -y {NAME} >/dev/null && "
            f"cat /usr/share/{NAME}; sudo dpkg --purge {NAME} >/dev/null; "
            "sudo rm -rf /run/oriel-verify.list /var/lib/apt/lists/packages.example*",
            rf"^{mirror.secret}$",
        ),
    )
    if verdict.passed and not any(target.endswith(".deb") for target in mirror.asked):
        return Verdict(verdict.id, False, verdict.seconds, "installed, but not from here")
    return verdict


def repository(secret: str) -> dict[str, bytes]:
    """The files of a flat repository (sources.list(5)) with the one package."""
    deb = package(secret)
    place = f"Filename: ./{NAME}.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n\n"
    index = (_control() + place).encode()
    digest = hashlib.sha256(index).hexdigest()
    release = f"Date: {DATE}\nSHA256:\n {digest} {len(index)} Packages\n".encode()
    return {"./Release": release, "./Packages": index, f"./{NAME}.deb": deb}


def package(secret: str) -> bytes:
    """A package with one file that holds `secret`: deb(5), ar(5)."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _archive("./control", _control()),
        "data.tar.gz": _archive(f"./usr/share/{NAME}", f"{secret}\n"),
    }
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def _control() -> str:
    return (
        f"Package: {NAME}\nVersion: 1\nArchitecture: all\nMaintainer: Oriel <oriel@example.com>\n"
        "Description: shows that a desktop can install packages\n"
    )


def _archive(name: str, text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(text.encode())
        archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)
