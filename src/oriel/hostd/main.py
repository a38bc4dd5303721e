"""hostd's command line, and its life: find the living keepers, serve, leave them alone."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import oriel
from oriel.host.accounts import Account, oriel_account, require_root
from oriel.host.layout import Home
from oriel.host.logs import log_json
from oriel.host.records import read_json, tell, write_process
from oriel.host.server import logged, serve_unix
from oriel.host.systemd import notify
from oriel.hostd.keepers import KEEPER, Keepers
from oriel.hostd.removal import desktop_ids, sweep, sweep_regularly
from oriel.hostd.runtimes import Probing, Runtimes
from oriel.hostd.templates import MAKER
from oriel.hostd.verbs import Verbs
from oriel.keeper.main import driver_of
from oriel.keeper.server import DriverOf, lock_directory
from oriel.model.errors import OrielError

__all__ = ["main", "serve"]

_LOG = logging.getLogger(__name__)
QUIET = frozenset({"hello", "list", "images", "templates"})  # asked all the time: no line in the log for each


def main(
    argv: Sequence[str] | None = None,
    *,
    drivers: DriverOf = driver_of,
    keeper: Sequence[str] = KEEPER,
    probes: Probing | None = None,
) -> int:
    """Run hostd until SIGTERM; its keepers live on. 0, or 1 with the reason in the log."""
    parser = argparse.ArgumentParser(prog="python -m oriel.hostd", description="The root service of a host.")
    parser.add_argument("--home", type=Path, required=True, help="the home directory")
    parser.add_argument("--images", type=Path, help="where images are, if not in the home")
    parser.add_argument("--ready-fd", type=int, help="a pipe for one JSON line once the socket answers")
    options = parser.parse_args(argv)
    log_json()
    try:
        require_root("hostd")
        home = Home(options.home.resolve(), options.images and options.images.resolve())
        account = oriel_account()
        asyncio.run(
            serve(
                home, account, Runtimes(home, probes), driver_of=drivers, keeper=keeper,
                ready=lambda: tell(options.ready_fd, {"ok": True, "pid": os.getpid()}),
            )
        )  # fmt: skip
    except OrielError as error:
        logging.exception("hostd cannot go on")
        tell(options.ready_fd, {"ok": False, "error": error.to_wire()})
        return 1
    return 0


async def serve(
    home: Home,
    account: Account,
    runtimes: Runtimes,
    *,
    driver_of: DriverOf,
    keeper: Sequence[str],
    ready: Callable[[], None],
) -> None:
    """Serve one home until SIGTERM or SIGINT. StateError if another hostd serves it."""
    _make_directories(home, account)
    with lock_directory(home.hostd):
        try:
            async with asyncio.TaskGroup() as group:
                keepers = Keepers(home, group, keeper)
                verbs = Verbs(home, account, keepers, runtimes, driver_of=driver_of, group=group)
                keepers.on_deleted = verbs.deleted
                await _sweep_and_discover(home, keepers, verbs, driver_of, group)
                sweeping = sweep_regularly(home, verbs.in_creation, driver_of, group)
                beside = [
                    group.create_task(runtimes.all(), name="probes"),
                    group.create_task(sweeping, name="sweep"),
                ]
                await _serve(home, account, verbs, ready)
                for task in beside:
                    task.cancel()
                await keepers.leave()
        except ExceptionGroup as several:
            raise several.exceptions[0] from several


def _makes_template(home: Home, desktop_id: str) -> bool:
    spec = read_json(home.desktop(desktop_id).spec) or {}
    return bool(spec.get("spare")) and spec.get("name") == MAKER


async def _sweep_and_discover(
    home: Home, keepers: Keepers, verbs: Verbs, driver_of: DriverOf, group: asyncio.TaskGroup
) -> None:
    swept = await sweep(home, lambda _: False, driver_of, group)
    if swept.removed or swept.problems:
        _LOG.warning("swept", extra={"event": {"removed": swept.removed, "problems": swept.problems}})
    for desktop_id in desktop_ids(home):
        keepers.discover(desktop_id)
        if _makes_template(home, desktop_id):  # for a hostd before us, that nobody hears of any more
            group.create_task(verbs.discard(desktop_id), name=f"discard {desktop_id}")


async def _serve(home: Home, account: Account, verbs: Verbs, ready: Callable[[], None]) -> None:
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    async with serve_unix(home.hostd_socket, logged(verbs.handlers(), QUIET), account):
        write_process(home.hostd_record, gid=account.gid, version=oriel.__version__)
        _LOG.info("serving %s", home.root)
        ready()
        notify("READY=1")
        await leaving.wait()
    home.hostd_record.unlink(missing_ok=True)


def _make_directories(home: Home, account: Account) -> None:
    for directory, mode in (
        (home.root, 0o755),
        (home.images, 0o755),
        (home.desktops, 0o755),
        (home.hostd, 0o750),
    ):
        directory.mkdir(parents=True, exist_ok=True)
        if directory != home.images or home.images_directory is None:
            os.chown(directory, 0, account.gid)
            directory.chmod(mode)
