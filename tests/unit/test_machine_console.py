"""The console's pipe and its bounded log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from oriel.machine.console import LIMIT_BYTES, Console, readable


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until `condition` holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def test_what_is_printed_is_logged_as_it_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "console.log"
        console = Console(tmp_path / "pipe", log)
        console.open()
        with console.writer() as fd:
            os.write(fd, b"hello\n")
            await until(log.exists)
            os.write(fd, b"again\n")
            console.close()
        assert log.read_bytes() == b"hello\nagain\n"
        console.close()

    asyncio.run(scenario())


def test_without_a_reader_the_pipe_keeps_it_for_the_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "console.log"
        first = Console(tmp_path / "pipe", log)
        first.open()
        with first.writer() as fd:
            first.close()
            os.write(fd, b"nobody listens\n")
            second = Console(tmp_path / "pipe", log)
            second.open()
            await until(log.exists)
            second.close()
        assert log.read_bytes() == b"nobody listens\n"

    asyncio.run(scenario())


def test_the_log_is_bounded_and_keeps_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = tmp_path / "console.log"
        console = Console(tmp_path / "pipe", log)
        console.open()
        with console.writer() as fd:
            for number in range(60):
                os.write(fd, b"%05d" % number + b"." * 65531)
                await until(lambda number=number: log.exists() and b"%05d" % number in log.read_bytes())
            console.close()
        text = log.read_bytes()
        assert LIMIT_BYTES / 2 <= len(text) <= LIMIT_BYTES
        assert b"00059" in text
        assert b"00000" not in text

    asyncio.run(scenario())


def test_the_end_of_the_machine_ends_the_copying(tmp_path: Path) -> None:
    async def scenario() -> None:
        console = Console(tmp_path / "pipe", tmp_path / "console.log")
        console.open()
        with console.writer() as fd:
            os.write(fd, b"last words")
        await until((tmp_path / "console.log").exists)
        console.close()
        assert (tmp_path / "console.log").read_bytes() == b"last words"

    asyncio.run(scenario())


def test_what_it_says_is_told_without_what_it_would_do_to_a_terminal() -> None:
    said = "\x1b[!p\x1b]104\x07\x1b[?7h\r\n[  OK  ] \x1b[0;1;32mStarted\x1b[0m it.\r\n"
    said += "\x1bc\x00\n\x1b]0;title\x1b\\Kernel panic\n"
    assert readable(said) == "[  OK  ] Started it.\nKernel panic"
