"""A PostgreSQL of the tests' own: a cluster in a directory, on a socket in it, as an ordinary user."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

__all__ = ["Cluster", "cluster"]

DEADLINE_S = 60


def _programs() -> Path:
    """Debian keeps them out of PATH, a directory for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


@dataclass
class Cluster:
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> None:
        """Returns once it answers."""
        argv = [_programs() / "postgres", "-D", self.directory / "data", "-k", self.directory,
                "-c", "listen_addresses=", "-c", "max_connections=40"]  # fmt: skip
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                _unprivileged(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        ready = [_programs() / "pg_isready", "-h", self.directory, "-q", "-t", "1"]
        for _ in range(DEADLINE_S * 5):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            assert self.process.poll() is None, (self.directory / "log").read_text()
            # pg_isready says at once that there is nobody yet; postgres has no event for it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        """At once: sessions are ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(DEADLINE_S)
            self.process = None

    def database(self) -> str:
        """The URL of a new, empty one."""
        name = f"t{next(self._numbers)}"
        with psycopg.connect(
            host=str(self.directory), user="oriel", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://oriel@/{name}?host={self.directory}"


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody")
        initdb = [_programs() / "initdb", "-D", directory / "data", "-U", "oriel", "--auth=trust",
                  "--encoding=UTF8", "--no-locale", "--no-sync"]  # fmt: skip
        subprocess.run(_unprivileged(initdb), check=True, capture_output=True, cwd="/")
        made = Cluster(directory)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(directory)


def _unprivileged(argv: list[str | Path]) -> list[str | Path]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return argv
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--", *argv]
