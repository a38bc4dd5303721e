"""A machine's console: through a pipe into a bounded log.

The machine holds the pipe open for reading and writing, so it never sees it break. While no keeper
reads, the pipe keeps its last mebibyte for the next one; nothing a guest prints can fill the host's disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LIMIT_BYTES", "Console", "readable"]

LIMIT_BYTES = 1 << 20  # of the log; half is dropped when it is reached
PIPE_BYTES = 1 << 20  # the most an unprivileged pipe may hold (pipe(7))
F_SETPIPE_SZ = 1031  # <linux/fcntl.h>
CHUNK = 1 << 16
# What steers a terminal (ECMA-48, 5.4 and 5.6): sequences, other escapes, control characters.
STEERING = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)

logger = logging.getLogger(__name__)


def readable(text: str) -> str:
    """What a console's text says, without what it would do to a terminal, and without empty lines."""
    lines = (STEERING.sub("", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


class Console:
    """Copies the pipe `pipe` to the log `log` while it is open, driven by the running event loop."""

    def __init__(self, pipe: Path, log: Path) -> None:
        self._pipe = pipe
        self._log = log
        self._fd: int | None = None

    def open(self) -> None:
        """Begin copying; makes the pipe if there is none. Must run inside the event loop."""
        if self._fd is not None:
            return
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._pipe, 0o600)
        self._fd = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._fd, F_SETPIPE_SZ, PIPE_BYTES)
        asyncio.get_running_loop().add_reader(self._fd, self._copy)

    @contextlib.contextmanager
    def writer(self) -> Iterator[int]:
        """A descriptor to start the machine with, as its output."""
        fd = os.open(self._pipe, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _copy(self) -> None:
        """Take one chunk; at the end of the machine the pipe reads empty, and copying ends."""
        if self._fd is None:
            return
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        if data:
            self._append(data)
        else:
            self._release()

    def _append(self, data: bytes) -> None:
        try:
            with self._log.open("ab") as log:
                log.write(data)
                size = log.tell()
            if size > LIMIT_BYTES:
                kept = self._log.read_bytes()[-LIMIT_BYTES // 2 :]
                shorter = self._log.with_name(f".{self._log.name}.new")
                shorter.write_bytes(kept)
                shorter.rename(self._log)
        except OSError as error:
            # A full disk costs the console's text, never the machine that prints it.
            logger.warning("console output is lost: %s", error)

    def _release(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Write what is still in the pipe and stop copying; idempotent."""
        while self._fd is not None:
            before = self._fd
            try:
                data = os.read(before, CHUNK)
            except BlockingIOError:
                data = b""
            if not data:
                self._release()
            else:
                self._append(data)
