"""Commands in a desktop, their streams joined to ours."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from oriel.cli.options import HomeOption, JsonFlag, NameArgument, connect, run
from oriel.cli.output import Output
from oriel.model.errors import Fault, InvalidError, OrielError

if TYPE_CHECKING:
    from oriel.client import AsyncOriel
    from oriel.client.aio.command import Command

__all__ = ["exec_", "join"]

CHUNK = 1 << 16


def exec_(
    name: NameArgument,
    argv: Annotated[list[str], typer.Argument(metavar="-- ARGV…", help="The command and its arguments.")],
    *,
    cwd: Annotated[str | None, typer.Option(help="Directory to run in (default: the user's home).")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout-s", help="End it after so long; without it, never.")
    ] = None,
    stdin: Annotated[bool, typer.Option(help="Pass our standard input on.")] = True,
    json: JsonFlag = False,
    home: HomeOption = None,
) -> int:
    """Run a command as the desktop's user; the exit status is the command's own."""
    environment = _environment(env or [])
    if json:
        with connect(home) as oriel:
            text = sys.stdin.read() if stdin and not sys.stdin.isatty() else None
            result = oriel.desktop(name).exec(
                argv, cwd=cwd, env=environment or None, stdin=text, timeout_s=timeout
            )
        Output(json=True).document(asdict(result))
        return result.exit_code

    async def work(oriel: AsyncOriel) -> int:
        desktop = await oriel.desktop(name)
        command = await desktop.command(argv, cwd=cwd, env=environment or None, timeout_s=timeout)
        async with command:
            with _interrupts_go_to(command):
                return await join(command, with_input=stdin)

    return run(home, work)


def _environment(pairs: list[str]) -> dict[str, str]:
    faults = [Fault("--env", f"{pair!r} must be KEY=VALUE") for pair in pairs if pair.find("=") < 1]
    if faults:
        raise InvalidError.of(faults)
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


async def join(command: Command, *, with_input: bool) -> int:
    """Our streams and the command's, until it ends."""
    from oriel.client import Channel

    pump = _pump_input(command) if with_input else None
    if pump is None:
        await command.close_input()
    outputs = {Channel.STDOUT: sys.stdout.buffer, Channel.STDERR: sys.stderr.buffer}
    async for channel, data in command:
        if stream := outputs.get(channel):
            stream.write(data)
            stream.flush()
    return 1 if command.exit_code is None else command.exit_code


def _pump_input(command: Command) -> threading.Thread:
    """Passes standard input on in a thread: it may be a file or a terminal, which no event loop waits for.

    A daemon: it may sit in `read` for ever after the command has ended.
    """
    loop = asyncio.get_running_loop()

    def send(data: bytes) -> None:
        work = command.write(data) if data else command.close_input()
        asyncio.run_coroutine_threadsafe(work, loop).result()

    def pump() -> None:
        try:
            while data := os.read(sys.stdin.fileno(), CHUNK):
                send(data)
            send(b"")
        except (OrielError, RuntimeError, OSError):
            return  # the command or the loop has ended: nobody is left to read it

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    return thread


@contextmanager
def _interrupts_go_to(command: Command) -> Iterator[None]:
    """The first Ctrl-C is the command's, the second ours."""
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    sent: list[asyncio.Task[None]] = []

    def interrupt() -> None:
        if sent and main:
            main.cancel()
        else:
            sent.append(loop.create_task(command.send_signal(signal.SIGINT)))

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
    finally:
        loop.remove_signal_handler(signal.SIGINT)
