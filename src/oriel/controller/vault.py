"""Secrets at rest: encrypted with a key that is kept beside the database, never in it."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from oriel.model.errors import HostError
from oriel.model.secret import Secret

__all__ = ["Vault"]


class Vault:
    """Encrypts and decrypts with the key in `path`, which is made (0600) at the first start.

    HostError if the file holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = Fernet.generate_key()
            write_private(path, key)
        try:
            self._fernet = Fernet(key.strip())
        except ValueError as error:
            raise HostError(
                f"{path} holds no key", hint="restore it from a backup; without it proxies must be added anew"
            ) from error

    def seal(self, secret: Secret) -> bytes:
        return self._fernet.encrypt(secret.reveal().encode())

    def open(self, sealed: bytes) -> Secret:
        """HostError if it was sealed with another key."""
        try:
            return Secret(self._fernet.decrypt(sealed).decode())
        except InvalidToken as error:
            raise HostError(
                f"a stored secret does not open with the key in {self._path}",
                hint="restore the key that belongs to this database, or add the proxy anew",
            ) from error


def write_private(path: Path, data: bytes) -> None:
    """A new file that only we can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
