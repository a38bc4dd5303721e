"""A shell in a desktop, on our terminal."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from oriel.cli.execution import join
from oriel.cli.options import HomeOption, JsonFlag, NameArgument, run
from oriel.model.errors import Fault, HostError, InvalidError

if TYPE_CHECKING:
    from oriel.client import AsyncOriel
    from oriel.client.aio.command import Command

__all__ = ["shell"]


def shell(name: NameArgument, json: JsonFlag = False, home: HomeOption = None) -> int:
    """A login shell in the desktop, on this terminal."""
    if json:
        raise InvalidError.of(
            [Fault("--json", "a shell is for people")], hint="use `oriel exec NAME --json -- …`"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise HostError("a shell needs a terminal", hint="use `oriel exec NAME -- COMMAND` in scripts")

    async def work(oriel: AsyncOriel) -> int:
        desktop = await oriel.desktop(name)
        size = shutil.get_terminal_size()
        term = os.environ.get("TERM", "xterm-256color")
        command = await desktop.terminal(rows=size.lines, columns=size.columns, term=term)
        async with command:
            with _raw_terminal():
                async with _following_size(command):
                    return await join(command, with_input=True)

    return run(home, work)


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the other side; the terminal is as before afterwards."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@asynccontextmanager
async def _following_size(command: Command) -> AsyncIterator[None]:
    """The remote terminal has the size of ours, also when it changes."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            size = shutil.get_terminal_size()
            await command.resize(size.lines, size.columns)

    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    following = loop.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        loop.remove_signal_handler(signal.SIGWINCH)
