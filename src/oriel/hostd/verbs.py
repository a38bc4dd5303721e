"""hostd's verbs (docs/internals.md). Every argument is checked here again: the controller holds no power."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import oriel
from oriel.host.accounts import Account
from oriel.host.layout import DesktopPaths, Home
from oriel.host.records import read_json
from oriel.hostd.creation import create
from oriel.hostd.images import build_image, delete_image, list_images
from oriel.hostd.keepers import Keepers
from oriel.hostd.removal import clear_desktop, desktop_ids, end_desktop, erase_directory, sweep
from oriel.hostd.runtimes import Runtimes
from oriel.hostd.templates import Examiner, builder_spec, delete_template, make
from oriel.keeper.journal import read_ledger
from oriel.keeper.server import DriverOf
from oriel.model import wire
from oriel.model.errors import Fault, InvalidError, LaunchError, OrielError
from oriel.model.spec import DesktopSpec, check_desktop_id, check_name
from oriel.model.state import State

__all__ = ["Verbs"]

DELETE_DEADLINE_S = 45.0  # for a keeper's own delete
STOP_DEADLINE_S = 20.0
HELLO_DEADLINE_S = 5.0  # a keeper on a busy host still answers within this
END_DEADLINE_S = 2.0
_LOG = logging.getLogger(__name__)


class Verbs:
    """What hostd does. One verb at a time per desktop."""

    def __init__(
        self,
        home: Home,
        account: Account,
        keepers: Keepers,
        runtimes: Runtimes,
        *,
        driver_of: DriverOf,
        group: asyncio.TaskGroup,
    ) -> None:
        self._home = home
        self._account = account
        self._keepers = keepers
        self._runtimes = runtimes
        self._driver_of = driver_of
        self._group = group
        self._busy: dict[str, asyncio.Lock] = {}
        self._building = asyncio.Lock()
        self._making = asyncio.Lock()
        self._examiner = Examiner(home, driver_of, group)

    def handlers(self) -> dict[str, wire.Handler]:
        names = (
            "hello",
            "create",
            "list",
            "remove",
            "renew",
            "retire",
            "sweep",
            "images",
            "image_build",
            "image_delete",
            "templates",
            "template_build",
            "template_delete",
            "doctor",
        )
        return {name: getattr(self, name) for name in names}

    async def hello(self, _call: wire.Call) -> dict[str, Any]:
        return {
            "version": oriel.__version__, "pid": os.getpid(), "home": str(self._home.root),
            "runtimes": await self._runtimes.all(),
        }  # fmt: skip

    async def create(self, call: wire.Call) -> dict[str, Any]:
        given = call.args.get("spec")
        if not isinstance(given, Mapping):
            raise InvalidError.of([Fault("spec", "must be an object")])
        spec = DesktopSpec.from_json(given)
        origin = _origin(call.args)
        async with self._alone(spec.id):
            await create(self._home, spec, self._account, self._keepers, origin=origin)
        return {"id": spec.id}

    async def list(self, _call: wire.Call) -> dict[str, Any]:
        described = await asyncio.gather(*(self._describe(name) for name in desktop_ids(self._home)))
        return {"desktops": described}

    async def remove(self, call: wire.Call) -> dict[str, Any]:
        desktop_id = _id(call.args)
        # Goes on when the caller goes away: half a removal helps nobody.
        work = self._group.create_task(self._remove(desktop_id), name=f"remove {desktop_id}")
        if (error := await asyncio.shield(work)) is not None:
            raise error
        return {}

    async def retire(self, _call: wire.Call) -> dict[str, Any]:
        """Stop every desktop and end its keeper; disks stay, and the next hostd finds them stopped."""
        names = await asyncio.to_thread(desktop_ids, self._home)
        work = [self._group.create_task(self._retire(name), name=f"retire {name}") for name in names]
        problems = await asyncio.shield(asyncio.gather(*work))
        return {"retired": names, "problems": [problem for problem in problems if problem]}

    async def renew(self, _call: wire.Call) -> dict[str, Any]:
        """Replace every keeper by one of our version, which adopts the machine. One at a time."""
        told: dict[str, Any] = {"renewed": [], "problems": []}
        for name in await asyncio.to_thread(desktop_ids, self._home):
            work = self._group.create_task(self._renew(name), name=f"renew {name}")
            problem = await asyncio.shield(work)
            told["problems" if problem else "renewed"].append(problem or name)
        return told

    async def sweep(self, _call: wire.Call) -> dict[str, Any]:
        return asdict(await sweep(self._home, self.in_creation, self._driver_of, self._group))

    async def images(self, _call: wire.Call) -> dict[str, Any]:
        return {"images": await asyncio.to_thread(list_images, self._home)}

    async def image_build(self, call: wire.Call) -> None:
        async with self._building:
            await _stream_work(
                call, lambda tell: build_image(self._home, call.args.get("recipe"), tell), "image"
            )

    async def templates(self, _call: wire.Call) -> dict[str, Any]:
        return {"templates": await self._examiner.examine()}

    async def template_build(self, call: wire.Call) -> None:
        given = call.args.get("spec")
        spec = builder_spec(given if isinstance(given, Mapping) else {})
        settle_s = call.args.get("settle_s", 0)
        async with self._making:
            await _stream_work(call, lambda tell: self._make_template(spec, settle_s, tell), "template")

    async def template_delete(self, call: wire.Call) -> dict[str, Any]:
        await delete_template(self._home, str(call.args.get("id", "")))
        return {}

    async def image_delete(self, call: wire.Call) -> dict[str, Any]:
        await delete_image(self._home, call.args.get("id"))
        return {}

    async def doctor(self, _call: wire.Call) -> dict[str, Any]:
        from oriel.host.doctor import examine

        checks = [asdict(check) for check in await examine(self._home)]
        for name, probe in (await self._runtimes.all()).items():
            checks.append({
                "id": f"runtime.{name}", "ok": probe["works"], "fatal": False,
                "detail": f"{probe['isolation']}: {probe['detail']}", "hint": probe["hint"],
            })  # fmt: skip
        return {"checks": checks}

    async def deleted(self, desktop_id: str) -> None:
        """A keeper deleted its desktop and ended: the directory is ours to remove."""
        async with self._alone(desktop_id):
            try:
                await erase_directory(self._home, desktop_id)
                _LOG.info("%s is gone", desktop_id)
            except (OrielError, OSError):
                _LOG.exception("the directory of %s stays until it is removed or swept", desktop_id)

    async def discard(self, desktop_id: str) -> None:
        """Remove a desktop that is nobody's; what stands in the way is in the log."""
        await self._remove(desktop_id)

    async def _make_template(
        self, spec: DesktopSpec, settle_s: object, tell: Callable[[dict[str, Any]], None]
    ) -> str:
        async with self._alone(spec.id):
            await create(self._home, spec, self._account, self._keepers)
        try:
            return await make(self._home, spec, settle_s, tell)
        finally:
            work = self._group.create_task(self._remove(spec.id), name=f"remove {spec.id}")
            await asyncio.shield(work)

    async def _remove(self, desktop_id: str) -> OrielError | None:
        """By the keeper's own delete if it can, and then what is left of it and by it, by hand."""
        async with self._alone(desktop_id):
            keeper = await self._keepers.forget(desktop_id)
            if keeper.alive:
                try:
                    connect = wire.unix(self._home.desktop(desktop_id).keeper_socket)
                    # First whether it answers at all: one that hangs is not worth the long wait.
                    await wire.call(connect, "hello", {}, deadline_s=HELLO_DEADLINE_S)
                    await wire.call(connect, "delete", {}, deadline_s=DELETE_DEADLINE_S)
                except OrielError as error:
                    _LOG.warning("the keeper of %s cannot delete it: %s", desktop_id, error)
            try:
                await keeper.end(deadline_s=END_DEADLINE_S)
                await clear_desktop(self._home, desktop_id, self._driver_of, self._group)
            except (OrielError, OSError) as error:
                _LOG.exception("%s cannot be removed", desktop_id)
                if self._home.desktop(desktop_id).root.is_dir():
                    self._keepers.discover(desktop_id)
                return error if isinstance(error, OrielError) else LaunchError(str(error), hint="try again")
            return None

    async def _renew(self, desktop_id: str) -> str:
        async with self._alone(desktop_id):
            if self._keepers.process(desktop_id) is None:
                return f"{desktop_id}: its keeper does not run"
            keeper = await self._keepers.forget(desktop_id)
            try:
                await keeper.end(deadline_s=END_DEADLINE_S)
                await self._keepers.launch(desktop_id)
            except OrielError as error:
                self._keepers.discover(desktop_id)
                return f"{desktop_id}: {error.message}"
            return ""

    async def _retire(self, desktop_id: str) -> str:
        async with self._alone(desktop_id):
            keeper = await self._keepers.forget(desktop_id)
            paths = self._home.desktop(desktop_id)
            if keeper.alive:
                try:
                    connect = wire.unix(paths.keeper_socket)
                    state = (await wire.call(connect, "hello", {}, deadline_s=HELLO_DEADLINE_S))["state"]
                    # One whose memory is on the disk needs nothing: it is paused still when hostd is back.
                    frozen = state == State.PAUSED and not paths.paused.exists()
                    if frozen or state in (State.STARTING, State.RUNNING):
                        args = {"deadline_s": STOP_DEADLINE_S}
                        await wire.call(connect, "stop", args, deadline_s=STOP_DEADLINE_S + 10)
                except OrielError as error:
                    _LOG.warning("the keeper of %s cannot stop it: %s", desktop_id, error)
            try:
                await keeper.end(deadline_s=END_DEADLINE_S)
                await end_desktop(self._home, desktop_id, self._driver_of, self._group)
            except (OrielError, OSError) as error:
                _LOG.exception("%s cannot be ended", desktop_id)
                return f"{desktop_id}: {error}"
            for file in (paths.keeper_socket, paths.keeper_record):
                file.unlink(missing_ok=True)
            return ""

    async def _describe(self, desktop_id: str) -> dict[str, Any]:
        paths = self._home.desktop(desktop_id)
        process = self._keepers.process(desktop_id)
        if process is not None:
            try:
                hello = await wire.call(
                    wire.unix(paths.keeper_socket), "hello", {}, deadline_s=HELLO_DEADLINE_S
                )
                return {
                    "id": desktop_id, "alive": True, "state": hello["state"], "keeper_pid": process.pid,
                    "warm": hello.get("warm", False), **_told(paths),
                }  # fmt: skip
            except OrielError as error:
                _LOG.warning("the keeper of %s does not answer: %s", desktop_id, error)
        state = (await asyncio.to_thread(read_ledger, paths.journal)).state
        return {
            "id": desktop_id, "alive": False, "state": str(state),
            "keeper_pid": process.pid if process else None, "warm": False, **_told(paths),
        }  # fmt: skip

    def in_creation(self, desktop_id: str) -> bool:
        """Or in any other change."""
        return desktop_id in self._busy

    @contextlib.asynccontextmanager
    async def _alone(self, desktop_id: str) -> AsyncIterator[None]:
        lock = self._busy.setdefault(desktop_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._busy.get(desktop_id) is lock:
                del self._busy[desktop_id]


def _told(paths: DesktopPaths) -> dict[str, Any]:
    spec = read_json(paths.spec) or {}
    return {"name": str(spec.get("name", "")), "spare": bool(spec.get("spare"))}


def _id(args: Mapping[str, Any]) -> str:
    value = args.get("id")
    return check_desktop_id(value if isinstance(value, str) else "")


def _origin(args: Mapping[str, Any]) -> tuple[str, str] | None:
    given = args.get("origin")
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) != {"desktop", "snapshot"}:
        raise InvalidError.of([Fault("origin", "must be {desktop, snapshot}")])
    return check_desktop_id(str(given["desktop"])), check_name(str(given["snapshot"]), "snapshot")


async def _stream_work(
    call: wire.Call, work: Callable[[Callable[[dict[str, Any]], None]], Awaitable[str]], what: str
) -> None:
    """Lines of progress; the last one has `done`, and what was made under the name `what`, or the error."""
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run() -> str:
        return await work(lines.put_nowait)

    making = asyncio.create_task(run())
    making.add_done_callback(lambda _: lines.put_nowait({"done": True}))
    try:
        await call.answer({})
        while not (line := await lines.get()).get("done"):
            await wire.write_line(call.writer, line)
        await wire.write_line(call.writer, _last_line(making, what))
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


def _last_line(making: asyncio.Task[str], what: str) -> dict[str, Any]:
    error = making.exception()
    if error is None:
        return {"phase": "done", "message": f"the {what} is there", "done": True, what: making.result()}
    if not isinstance(error, OrielError):
        _LOG.error("making the %s failed", what, exc_info=error)
        error = OrielError(f"making the {what} failed unexpectedly", hint="hostd.log has the details")
    return {"phase": "failed", "message": error.message, "done": True, "error": error.to_wire()}
