"""`exec` on the wire: frames in and out of a running program, and its end in every case."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import signal
import struct
import termios

from agent.caller import hangup
from agent.program import Command, Program, parse_command, resize, start
from agent.session import end_session, signal_group
from agent.settings import Settings
from oriel.model.errors import NoSpaceError, WireError
from oriel.model.wire import Call, read_frame, write_frame

__all__ = ["execute"]

STDIN, STDOUT, STDERR, EXIT, RESIZE, SIGNAL = range(6)
CHUNK = 1 << 16
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as POSIX sh says it
LINGER_S = 5.0  # a caller closes at once when it has the last frame
HEARTBEAT_S = 2.0
EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


async def execute(call: Call, settings: Settings) -> None:
    """Serve one `exec` call to its end; docs/internals.md has the frames."""
    command = parse_command(call.args, settings)
    try:
        program = start(command, settings)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise NoSpaceError(
                f"the desktop cannot start another program: {error.strerror}",
                hint="end some programs in the desktop, or give it more memory",
            ) from error
        await _refuse(call, command, error)
        return
    try:
        await call.answer({"pid": program.process.pid})
        with hangup(call.writer) as gone:
            await _attend(call, command, program, gone)
    finally:
        if program.process.returncode is None:  # the caller went, or the agent ends: so does the command
            await asyncio.shield(_end(program, signal.SIGHUP))
        program.close()


async def _refuse(call: Call, command: Command, error: OSError) -> None:
    """What a shell says of a program that is missing or cannot be run."""
    missing = error.errno == errno.ENOENT
    reason = "command not found" if missing else (error.strerror or "cannot be run").lower()
    await call.answer({"pid": 0})
    await write_frame(call.writer, STDERR, f"{command.argv[0]}: {reason}\n".encode())
    await _send_exit(call, {"exit_code": NOT_FOUND if missing else NOT_EXECUTABLE})
    await _linger(call, asyncio.create_task(_drop(call)))


async def _attend(call: Call, command: Command, program: Program, gone: asyncio.Event) -> None:
    """Carry the streams until the program has ended, and say how; ConnectionResetError if `gone`."""
    outputs = [_Output(call, program.stdout, STDOUT)]
    if program.stderr >= 0:
        outputs.append(_Output(call, program.stderr, STDERR))
    ending = asyncio.create_task(_ended(program))
    leaving = asyncio.create_task(gone.wait())
    carrying = [asyncio.create_task(output.carry()) for output in outputs]
    feeding = asyncio.create_task(_feed(call, program, gone))
    try:
        await asyncio.wait(
            (ending, leaving), timeout=command.timeout_s or None, return_when=asyncio.FIRST_COMPLETED
        )
        timed_out = not ending.done() and not leaving.done()
        if timed_out:
            await _end(program, signal.SIGTERM)
        if not leaving.done():
            code = await ending
            for output in outputs:
                output.finish()
            sent = asyncio.gather(*carrying)
            await asyncio.wait((sent, leaving), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            raise ConnectionResetError("the caller has gone")
        await sent
        await _send_exit(call, _report(code, timed_out))
        await _linger(call, feeding)
    finally:
        tasks = (ending, leaving, feeding, *carrying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(code: int, timed_out: bool) -> dict[str, object]:
    """The exit frame's content. A shell's convention for signals: 128 + number."""
    report: dict[str, object] = {"exit_code": code if code >= 0 else 128 - code}
    if code < 0:
        report["signal"] = signal.Signals(-code).name
    if timed_out:
        report["timed_out"] = True
    return report


async def _send_exit(call: Call, report: dict[str, object]) -> None:
    await write_frame(call.writer, EXIT, json.dumps(report).encode())


async def _linger(call: Call, reading: asyncio.Task[None]) -> None:
    """Go on `reading` until the caller closes too: input it had sent already would otherwise make the
    kernel reset the connection, and the caller lose the last frames."""
    call.writer.write_eof()
    try:
        await asyncio.wait((reading,), timeout=LINGER_S)
    finally:
        reading.cancel()


async def _drop(call: Call) -> None:
    while await call.reader.read(CHUNK):
        pass


async def _ended(program: Program) -> int:
    """The exit code once the program has ended, by its pidfd."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    fd = os.pidfd_open(program.process.pid)
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return program.process.wait()


async def _end(program: Program, first: signal.Signals) -> None:
    await end_session(program.process.pid, first=first)
    program.process.wait()


class _Output:
    """One output of a program on its way to the caller. A slow caller slows the program: nothing piles up."""

    def __init__(self, call: Call, fd: int, channel: int) -> None:
        self._call = call
        self._fd = fd
        self._channel = channel
        self._wake = asyncio.Event()
        self._finishing = False

    def finish(self) -> None:
        """The program has ended: send what it left behind, then stop.

        Its background children may hold the stream open for ever; they are not waited for.
        """
        self._finishing = True
        self._wake.set()

    async def carry(self) -> None:
        left: int | None = None
        while left is None or left > 0:
            if self._finishing and left is None:
                left = self._remaining()
            try:
                data = os.read(self._fd, CHUNK if left is None else min(CHUNK, left))
            except BlockingIOError:
                if self._finishing:
                    return
                await self._readable()
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # a terminal whose programs have all closed it
                    return
                raise
            if not data:
                return
            left = left and left - len(data)
            await write_frame(self._call.writer, self._channel, data)
            await asyncio.sleep(0)  # a program that never pauses must not keep others from their turn

    def _remaining(self) -> int | None:
        """Bytes in a pipe; None for a terminal, which the kernel hung up when its leader ended."""
        if os.isatty(self._fd):
            return None
        return int(struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0])

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._wake.clear()
        loop.add_reader(self._fd, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            loop.remove_reader(self._fd)


async def _feed(call: Call, program: Program, gone: asyncio.Event) -> None:
    """Frames from the caller. One that breaks the protocol is treated as gone."""
    try:
        while (frame := await read_frame(call.reader)) is not None:
            channel, payload = frame
            if channel == STDIN and payload:
                await _write_all(call, program, payload)
            elif channel == STDIN:
                program.close_stdin()
            elif channel == RESIZE:
                size = json.loads(payload)
                if program.tty:
                    resize(program.stdin, _size(size["rows"]), _size(size["cols"]))
            elif channel == SIGNAL:
                _send_signal(program, json.loads(payload)["signal"])
            else:
                raise WireError(f"no frame {channel} is sent to a command")
    except (WireError, ConnectionError, ValueError, KeyError, TypeError, AttributeError):
        gone.set()


def _size(value: int) -> int:
    return max(1, min(1000, int(value)))


def _send_signal(program: Program, wanted: str | int) -> None:
    """To the foreground of a terminal, else to the program's group. ValueError if there is no such signal."""
    if isinstance(wanted, int):
        number = signal.Signals(wanted)
    else:
        names = {item.name: item for item in signal.Signals}
        number = names[wanted if wanted.startswith("SIG") else f"SIG{wanted}"]
    group = os.tcgetpgrp(program.stdin) if program.tty else program.process.pid
    signal_group(group or program.process.pid, number)


async def _write_all(call: Call, program: Program, data: bytes) -> None:
    """To the program's input, at its pace. What it does not want to read any more is dropped."""
    view = memoryview(data)
    while view and program.stdin >= 0:
        try:
            view = view[os.write(program.stdin, view) :]
        except BlockingIOError:
            await _writable(call, program.stdin)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            return


async def _writable(call: Call, fd: int) -> None:
    """Until there is room. Meanwhile nothing is read from the caller, so its going would stay unnoticed
    behind what it had sent: an empty frame now and then finds out."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_writer(fd, ready.set)
    try:
        while not ready.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await ready.wait()
                    return
            await write_frame(call.writer, STDOUT, b"")
    finally:
        loop.remove_writer(fd)
