"""Passwords: hashed by Argon2id, a few at a time, because each hash is meant to cost memory and time."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from oriel.model.errors import BusyError, Fault, InvalidError

__all__ = ["MOST_LETTERS", "Passwords"]

# NIST SP 800-63B-4, 3.1.1.2: length is what counts; no rules of composition; long ones are taken whole.
LEAST_LETTERS, MOST_LETTERS = 12, 256
AT_ONCE, WAITING = 2, 12


class Passwords:
    """Hashes and checks. BusyError if too many wait for that already."""

    def __init__(self) -> None:
        # The library's profile is RFC 9106's second: 64 MiB, 3 passes, 4 lanes; some 50 ms.
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys = ""

    async def hash(self, password: str, *, of: str = "") -> str:
        """What to store. InvalidError if it is too short, too long, or the name it belongs to."""
        letters = _normal(password)
        if not LEAST_LETTERS <= len(letters) <= MOST_LETTERS:
            problem = f"must have {LEAST_LETTERS} to {MOST_LETTERS} letters"
            raise InvalidError.of([Fault("password", problem)], hint="a few words are easy to keep in mind")
        if len(set(letters)) < 4 or (of and letters.lower().replace(of, "").strip("0123456789!. -_") == ""):
            raise InvalidError.of([Fault("password", "is too easy to guess")])
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, letters)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one; for None, who has none, it takes as long to say no."""
        async with self._turn():
            return await asyncio.to_thread(self._verify, stored, _normal(password[: MOST_LETTERS + 1]))

    def is_outdated(self, stored: str) -> bool:
        """Whether it was hashed with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str | None, letters: str) -> bool:
        if not self._nobodys:
            self._nobodys = self._hasher.hash("a password of nobody")
        try:
            self._hasher.verify(stored or self._nobodys, letters)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING:
            raise BusyError("too many are signing in", retry_after_s=2, hint="try again in a moment")
        self._waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """The same password however a keyboard composes its letters (NIST SP 800-63B-4, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password.encode(errors="replace").decode())
