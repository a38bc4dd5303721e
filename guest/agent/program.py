"""A command as the desktop's user (or root) runs it: what was asked, and the started process."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.arguments import Arguments
from agent.environment import account, groups_of, login_environment
from agent.settings import Settings
from oriel.model.errors import NotFoundError

__all__ = ["Command", "Program", "Terminal", "parse_command", "resize", "start", "which"]

PIPE_BYTES = 1 << 20  # fewer turns of the event loop for large outputs


@dataclass(frozen=True, kw_only=True)
class Terminal:
    rows: int = 24
    cols: int = 80
    term: str = "xterm-256color"


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. `cwd` is relative to the user's home. `timeout_s` 0: no limit."""

    argv: list[str]
    user: str
    cwd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    tty: Terminal | None = None
    timeout_s: float = 0


@dataclass
class Program:
    """A started command and our ends of its streams. On a terminal, `stdin` and `stdout` are its master."""

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int  # -1: none
    tty: bool

    def close(self) -> None:
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)
        self.stdin = self.stdout = self.stderr = -1

    def close_stdin(self) -> None:
        """End of input; a terminal has no other way to say it than ^D."""
        if self.tty:
            os.write(self.stdin, b"\x04")
        elif self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1


def parse_command(values: Mapping[str, Any], settings: Settings) -> Command:
    """The arguments of `exec` as a command; InvalidError with all faults."""
    args = Arguments(values)
    argv = args.texts("argv")
    if not args.faults and not (argv and argv[0]):
        args.fault("argv", "must begin with the program to run")
    env = args.table("env")
    if any(not key or "=" in key for key in env):
        args.fault("env", "a variable's name must not be empty or contain =")
    command = Command(
        argv=argv,
        user=args.choice("user", {settings.user, "root"}, default=settings.user),
        cwd=args.text("cwd", default=""),
        env=env,
        tty=_parse_terminal(args),
        timeout_s=args.seconds("timeout_s", 0, 365 * 86400.0, default=0.0),
    )
    args.done()
    return command


def _parse_terminal(args: Arguments) -> Terminal | None:
    if not args.has("tty"):
        args.any("tty", None)
        return None
    inner = args.nested("tty")
    default = Terminal()
    terminal = Terminal(
        rows=inner.whole("rows", 1, 1000, default=default.rows),
        cols=inner.whole("cols", 1, 1000, default=default.cols),
        term=inner.text("term", "a terminal's name", pattern=r"[A-Za-z0-9+._-]{1,64}", default=default.term),
    )
    inner.unknown()
    return terminal


def start(command: Command, settings: Settings) -> Program:
    """Start it in a session of its own.

    OSError if the program is missing or cannot be run, NotFoundError if `cwd` or the user is missing.
    """
    who = account(command.user)
    extra = command.env if command.tty is None else {"TERM": command.tty.term, **command.env}
    env = login_environment(who, display=settings.display, extra=extra, root=settings.root)
    cwd = str(Path(who.pw_dir, command.cwd))
    if not Path(cwd).is_dir():
        raise NotFoundError(
            f"there is no directory {cwd} in the desktop", hint="`cwd` must name a directory that exists"
        )
    options: dict[str, Any] = {
        "executable": which(command.argv[0], path=env["PATH"], cwd=cwd),
        "cwd": cwd,
        "env": env,
        "user": who.pw_uid,
        "group": who.pw_gid,
        "extra_groups": groups_of(who),
    }
    if command.tty is None:
        return _start_on_pipes(command.argv, options)
    return _start_on_terminal(command.argv, command.tty, who.pw_uid, options)


def _start_on_pipes(argv: list[str], options: Mapping[str, Any]) -> Program:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, stderr=pipe, pipesize=PIPE_BYTES, start_new_session=True, **options
    )
    ours: list[int] = []
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None  # noqa: S101 - for mypy: asked for as a pipe
        ours.append(os.dup(stream.fileno()))
        os.set_blocking(ours[-1], False)
        stream.close()
    stdin, stdout, stderr = ours
    return Program(process, stdin, stdout, stderr, tty=False)


def _start_on_terminal(argv: list[str], terminal: Terminal, uid: int, options: Mapping[str, Any]) -> Program:
    master, slave = os.openpty()
    try:
        resize(master, terminal.rows, terminal.cols)
        os.fchown(slave, uid, -1)  # as login(1) does, so that programs may open /dev/tty again
        # setsid(1) makes the terminal the controlling one; Popen alone cannot without code after fork.
        words = ["setsid", "--ctty", options["executable"], *argv[1:]]
        process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, **{**options, "executable": "/usr/bin/setsid"}
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return Program(process, master, master, -1, tty=True)


def resize(master: int, rows: int, cols: int) -> None:
    """Tell the terminal its size; the foreground program gets SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def which(name: str, *, path: str, cwd: str) -> str:
    """The file a shell would run. OSError with ENOENT or EACCES, as a shell tells them apart."""
    folders = [""] if "/" in name else path.split(":")
    candidates = [Path(cwd, folder, name) for folder in folders]
    refused = False
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
        refused = refused or candidate.exists()
    code = errno.EACCES if refused else errno.ENOENT
    raise OSError(code, os.strerror(code), name)
