"""A keeper's verbs (docs/internals.md), and the keeper's own life from its first line to its last."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import oriel
from oriel.host import slots
from oriel.host.accounts import Account
from oriel.host.layout import DesktopPaths, Home
from oriel.host.process import tail
from oriel.host.records import read_json, write_process
from oriel.host.server import logged, serve_unix
from oriel.keeper.assembly import Plan
from oriel.keeper.desktop import Desktop
from oriel.keeper.guest import Guest
from oriel.keeper.journal import Journal
from oriel.keeper.keeping import Keeping
from oriel.keeper.measuring import measure
from oriel.keeper.media import serve_media
from oriel.keeper.recovery import recover
from oriel.keeper.relay import Streams, join
from oriel.machine.driver import Driver
from oriel.model import wire
from oriel.model.egress import EgressSpec
from oriel.model.errors import Fault, InvalidError, NotFoundError, StateError
from oriel.model.spec import DesktopSpec, Runtime, check_name

__all__ = ["DriverOf", "keep", "lock_directory"]

DriverOf = Callable[[Runtime, Home], Driver]

LONGEST_DEADLINE_S = 3600.0
CONSOLE_BYTES = 65536
# Asked all the time, or open for as long as somebody looks: no line in the log for each.
QUIET = frozenset({
    "hello", "inspect", "usage", "events", "console", "access_log", "snapshots", "agent", "vnc", "cdp",
    "media",
})  # fmt: skip


async def keep(
    home: Home, desktop_id: str, account: Account, driver_of: DriverOf, ready: Callable[[], None]
) -> None:
    """Be the keeper of one desktop until it is deleted or SIGTERM comes; its machine outlives the latter.

    `ready` is called once the socket answers. NotFoundError if the desktop has no directory or spec,
    StateError if it has another keeper.
    """
    paths = home.desktop(desktop_id)
    stored = read_json(paths.spec)
    if stored is None:
        raise NotFoundError(
            f"{paths.spec} is missing or damaged", hint="remove the desktop and create it again"
        )
    spec = DesktopSpec.from_json(stored)
    with lock_directory(paths.root):
        journal = Journal(paths.journal, desktop_id)
        os.chown(paths.journal, 0, account.gid)
        slot = slots.claim(home.root, desktop_id, preferred=journal.ledger.slot)
        try:
            async with asyncio.TaskGroup() as group:
                desktop = Desktop(Plan(home, spec, slot, driver_of(spec.runtime, home), journal, group))
                await _serve(desktop, paths, account, ready)
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        finally:
            journal.close()


@contextlib.contextmanager
def lock_directory(directory: Path) -> Any:
    """Hold `directory` alone, so that nothing is ever kept twice; freed by the kernel however we end.

    StateError if another process holds it.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StateError(f"{directory} is already kept by another process") from error
    finally:
        os.close(fd)


async def _serve(desktop: Desktop, paths: DesktopPaths, account: Account, ready: Callable[[], None]) -> None:
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leaving.set)
    await recover(desktop)
    verbs = _Verbs(desktop)
    async with serve_unix(paths.keeper_socket, logged(verbs.handlers(), QUIET), account):
        write_process(paths.keeper_record, gid=account.gid, version=oriel.__version__)
        ready()
        await _first_of(leaving.wait(), desktop.gone.wait())
        await desktop.leave()
        await verbs.answered_deletes()
    paths.keeper_record.unlink(missing_ok=True)


async def _first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Verbs:
    """Each verb: check the arguments, ask the desktop."""

    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop
        self._journal = desktop.plan.journal
        self._keeping = Keeping(desktop)
        self._deletes: set[asyncio.Task[Any]] = set()

    def handlers(self) -> dict[str, wire.Handler]:
        names = (
            "hello", "inspect", "configure_egress", "start", "stop", "delete", "events", "console",
            "access_log", "media",
            "pause", "resume", "snapshot", "snapshots", "delete_snapshot", "rewind",
            "warm", "assign", "make_template", "usage",
        )  # fmt: skip
        relays = {
            "agent": self._relay(Guest.open_agent),
            "vnc": self._relay(Guest.open_vnc),
            "cdp": self._relay(Guest.open_cdp),
        }
        return {name: getattr(self, name) for name in names} | relays

    async def hello(self, _call: wire.Call) -> dict[str, Any]:
        return {
            "id": self._desktop.plan.spec.id, "pid": os.getpid(), "version": oriel.__version__,
            "state": str(self._desktop.state), "seq": self._journal.seq, "warm": self._desktop.is_warm,
        }  # fmt: skip

    async def inspect(self, _call: wire.Call) -> dict[str, Any]:
        return await self._desktop.inspect()

    async def configure_egress(self, call: wire.Call) -> dict[str, Any]:
        try:
            spec = EgressSpec.from_wire(call.args)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            # Not the value itself: it may hold a password.
            raise InvalidError.of([Fault("egress", f"not an egress spec ({type(error).__name__})")]) from None
        await self._desktop.configure_egress(spec)
        return {}

    async def start(self, call: wire.Call) -> dict[str, Any]:
        return {"timings": await self._desktop.start(_deadline(call.args))}

    async def stop(self, call: wire.Call) -> dict[str, Any]:
        await self._desktop.stop(_deadline(call.args))
        return {}

    async def pause(self, _call: wire.Call) -> dict[str, Any]:
        return await self._keeping.pause()

    async def resume(self, call: wire.Call) -> dict[str, Any]:
        return {"timings": await self._desktop.resume(_deadline(call.args))}

    async def snapshot(self, call: wire.Call) -> dict[str, Any]:
        return await self._keeping.snapshot(_name(call.args))

    async def snapshots(self, _call: wire.Call) -> dict[str, Any]:
        return {"snapshots": await self._keeping.snapshots()}

    async def delete_snapshot(self, call: wire.Call) -> dict[str, Any]:
        await self._keeping.delete_snapshot(_name(call.args))
        return {}

    async def rewind(self, call: wire.Call) -> dict[str, Any]:
        return await self._keeping.rewind(_name(call.args))

    async def warm(self, call: wire.Call) -> dict[str, Any]:
        return {"timings": await self._desktop.warm(_deadline(call.args))}

    async def assign(self, call: wire.Call) -> dict[str, Any]:
        given = call.args.get("spec")
        if not isinstance(given, Mapping):
            raise InvalidError.of([Fault("spec", "must be an object")])
        await self._keeping.assign(DesktopSpec.from_json(given))
        return {}

    async def usage(self, _call: wire.Call) -> dict[str, Any]:
        return await measure(self._desktop)

    async def make_template(self, call: wire.Call) -> dict[str, Any]:
        settle_s = _number(call.args, "settle_s", 0, 0, LONGEST_DEADLINE_S)
        return await self._desktop.make_template(_deadline(call.args), settle_s)

    async def delete(self, call: wire.Call) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._deletes.add(task)
        await self._desktop.delete()
        await call.answer({})

    async def answered_deletes(self) -> None:
        """The keeper exits after a delete, but not before its callers have heard of it."""
        if self._deletes:
            await asyncio.wait(self._deletes, timeout=2)

    async def console(self, call: wire.Call) -> dict[str, Any]:
        size = _number(call.args, "bytes", CONSOLE_BYTES, 1, wire.MAX_LINE // 8)
        return {"text": tail(self._desktop.plan.paths.console_log, int(size))}

    async def access_log(self, call: wire.Call) -> dict[str, Any]:
        size = _number(call.args, "bytes", CONSOLE_BYTES, 1, wire.MAX_LINE // 8)
        return {"text": tail(self._desktop.plan.paths.access_log, int(size))}

    async def events(self, call: wire.Call) -> None:
        after = int(_number(call.args, "after", 0, 0, 1 << 62))
        await call.answer({})

        async def send() -> None:
            lines: AsyncIterator[bytes] = self._journal.follow(after)
            async for line in lines:
                call.writer.write(line)
                await call.writer.drain()

        # The reader tells when the caller has gone, which a quiet journal would not.
        await _first_of(send(), call.reader.read())

    async def media(self, call: wire.Call) -> None:
        await serve_media(call, self._desktop.gateway, slot=self._desktop.plan.slot)

    def _relay(self, connect: Callable[[Guest], Awaitable[Streams]]) -> wire.Handler:
        async def handle(call: wire.Call) -> None:
            target = await connect(self._desktop.guest)
            try:
                await call.answer({})
                await join((call.reader, call.writer), target)
            finally:
                target[1].transport.abort()

        return handle


def _name(args: Mapping[str, Any]) -> str:
    value = args.get("name")
    return check_name(value if isinstance(value, str) else "")


def _deadline(args: Mapping[str, Any]) -> float:
    return _number(args, "deadline_s", None, 0.1, LONGEST_DEADLINE_S)


def _number(args: Mapping[str, Any], name: str, default: float | None, low: float, high: float) -> float:
    value = args.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidError.of([Fault(name, f"must be a number from {low:g} to {high:g}")])
    return value
