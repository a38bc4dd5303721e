"""The certificate we serve with, if no proxy in front does; one that was renewed is taken up by itself."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from oriel.model.errors import HostError

__all__ = ["Certificate"]

LOOK_S = 30.0  # a renewal replaces two files, by whatever means: no event tells when both are there
_LOG = structlog.get_logger(__name__)


class Certificate:
    """`context` is for the server's whole life: connections made after a renewal get the new certificate."""

    def __init__(self, chain: Path, key: Path) -> None:
        """HostError if the files cannot be read, or do not belong together."""
        self._chain = chain
        self._key = key
        self._seen = self._look()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._load(self.context)
        self.wanted = asyncio.Event()  # to look now

    def renew(self) -> bool:
        """Take up what the files hold now. HostError if that is no use; then the old one stays in force."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)
        self._seen = seen
        return True

    async def keep_fresh(self) -> None:
        """For ever: look again every 30 s, or when `wanted`."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.wanted.wait()
            except TimeoutError:
                pass
            self.wanted.clear()
            try:
                if await asyncio.to_thread(self.renew):
                    _LOG.info("a new certificate is served", file=str(self._chain))
            except HostError as error:
                _LOG.error("the certificate stays the old one", reason=error.message, hint=error.hint)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [file.stat() for file in (self._chain, self._key)]
        except OSError as error:
            raise _useless(f"{error.filename}: {error.strerror}") from error
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without a function, OpenSSL would ask at the terminal for the password of an encrypted key.
            context.load_cert_chain(self._chain, self._key, password=_refuse)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise _useless(f"{self._chain}, {self._key}: {error}") from error


def _refuse() -> str:
    raise ValueError("the key is encrypted")


def _useless(why: str) -> HostError:
    return HostError(
        f"the certificate cannot be used: {why}",
        hint="both must be PEM, belong together, and be readable by the user that the controller runs as",
    )
