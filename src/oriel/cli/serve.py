"""`oriel serve`: one home's hostd (root), porter and controller (powerless), each brought back when it ends.

The listening socket is opened here and inherited, so that a port that is taken is said at once, and
connections made while the controller restarts wait instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from oriel.host.accounts import ACCOUNT, Account, oriel_account, require_root
from oriel.host.layout import Home
from oriel.host.process import run, tail
from oriel.host.program import readable_program
from oriel.host.records import read_json, read_process, write_process
from oriel.host.settings import load_settings
from oriel.host.supervise import Part
from oriel.model.errors import HostError, LaunchError, StateError

__all__ = ["Serving", "listen", "prepare_home", "serve"]

READY_DEADLINE_S = 300.0  # a second on a usual host; five emulated interpreters on a busy one take minutes


@dataclass(frozen=True)
class Serving:
    """The `oriel serve` that holds a home now."""

    pid: int
    url: str

    @staticmethod
    def of(home: Home) -> Serving | None:
        process = read_process(home.serve_record)
        if process is None or not process.alive:
            return None
        return Serving(process.pid, str((read_json(home.serve_record) or {}).get("url", "")))


async def prepare_home(home: Home) -> Account:
    """The account and the directories, with their owners and modes; idempotent.

    Raises HostError if this is not root, or the account cannot reach the home.
    """
    require_root("oriel serve")
    await _make_account()
    account = oriel_account()
    for directory, mode, uid in (
        (home.root, 0o755, 0),
        (home.images, 0o755, 0),
        (home.desktops, 0o755, 0),
        (home.hostd, 0o750, 0),
        (home.controller, 0o700, account.uid),
    ):
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, uid, account.gid)
        directory.chmod(mode)
    reached = await run([*_as_account(account), "test", "-x", home.controller], check=False)
    if reached.code != 0:
        raise HostError(
            f"the user {ACCOUNT} cannot reach {home.root}",
            hint="give every directory above it search permission (chmod o+x), or choose another --home",
        )
    return account


async def _make_account() -> None:
    known = await run(["getent", "passwd", ACCOUNT], check=False)
    if known.code != 0:
        options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        await run(["useradd", *options, ACCOUNT])


def _as_account(account: Account) -> list[str]:
    """The prefix that runs a command as the controller's user, without any way back to power."""
    return [
        *("setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--bounding-set=-all", "--pdeathsig=TERM", "--"),
    ]


def listen(host: str, port: int) -> socket.socket:
    """The controller's listening socket, inheritable. Port 0 lets the system choose one.

    Raises HostError if the address is not this machine's or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise HostError(
            f"--host {host!r} is no address of this machine", hint="use 127.0.0.1, or 0.0.0.0 for all"
        ) from error
    listener = socket.socket(*found[:3])
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[4])
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint="choose another with --port, or stop what holds it: `ss -ltnp` tells",
        ) from error
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def _url(listener: socket.socket, host: str, scheme: str) -> str:
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - only compared: what people can type
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def serve(
    home: Home, flags: Mapping[str, str | None], *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. `flags`: settings by name, over ORIEL_* and oriel.toml.

    `ready(url)` is called once usable. Raises InvalidError (settings), HostError (not root, port
    taken, home closed), StateError (already serving), LaunchError (hostd or controller does not get
    ready; then both are stopped). Desktops are not touched.
    """
    settings = load_settings(home.settings, flags, os.environ)
    home = Home(home.root, settings.images_directory)
    account = await prepare_home(home)
    if other := Serving.of(home):
        raise StateError(
            f"this home is already served by pid {other.pid} at {other.url}",
            hint="./run --stop ends it; --home serves another home",
        )
    listener = listen(settings.host, settings.port)
    url = _url(listener, settings.host, "https" if settings.tls_certificate else "http")
    parts = await _parts(home, account, listener, url, flags)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    write_process(home.serve_record, url=url)
    failure: LaunchError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part.keep(stopping))
            group.create_task(_stop_in_reverse(stopping, parts))
            try:
                await _until_ready(url, stopping, parts)
                if ready and not stopping.is_set():
                    ready(url)
            except LaunchError as error:
                failure = error
                stopping.set()
    finally:
        home.serve_record.unlink(missing_ok=True)
        listener.close()
    if failure is not None:
        raise failure


async def _parts(
    home: Home, account: Account, listener: socket.socket, url: str, flags: Mapping[str, str | None]
) -> list[Part]:
    hostd = [
        "setpriv",
        "--pdeathsig=TERM",
        "--",
        sys.executable,
        "-m",
        "oriel.hostd",
        "--home",
        str(home.root),
    ]
    if home.images_directory is not None:
        hostd += ["--images", str(home.images_directory)]
    root = await readable_program(home, _as_account(account))
    controller = [
        *_as_account(account),
        *(str(root / ".venv/bin/python"), "-m", "oriel.controller", "--home", str(home.root)),
        *("--listen-fd", str(listener.fileno()), "--url", url, f"--web-directory={root / 'web/dist'}"),
    ]
    # By environment, not as arguments: a database's address may hold a password.
    settings = {name: value for name, value in os.environ.items() if name.startswith("ORIEL_")}
    settings |= {f"ORIEL_{name.upper()}": value for name, value in flags.items() if value is not None}
    porter = [
        *_as_account(account),
        str(root / ".venv/bin/python"),
        "-m",
        "oriel.porter",
        "--home",
        str(home.root),
    ]
    home.controller_log.touch(mode=0o640)
    return [
        Part(name="hostd", argv=hostd, log=home.hostd_log),
        Part(name="porter", argv=porter, log=home.porter_log),
        Part(
            name="controller",
            argv=controller,
            log=home.controller_log,
            env=settings,
            pass_fds=(listener.fileno(),),
        ),
    ]


async def _stop_in_reverse(stopping: asyncio.Event, parts: Sequence[Part]) -> None:
    await stopping.wait()
    for part in reversed(parts):
        await part.stop()


async def _until_ready(url: str, stopping: asyncio.Event, parts: Sequence[Part]) -> None:
    """Until /readyz answers 200. A part that ends before that is not waited for again."""
    answer = asyncio.create_task(_readyz(url, stopping))
    ends = [asyncio.create_task(part.first_end.wait()) for part in parts]
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            await asyncio.wait([answer, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and not stopping.is_set():
            ended = next(part for part in parts if part.first_end.is_set())
            raise LaunchError(f"{ended.name} ended before it was ready\n{tail(ended.log, 1500)}")
    except TimeoutError:
        logs = "\n".join(f"--- {part.log}\n{tail(part.log, 1500)}" for part in parts)
        raise LaunchError(f"not ready within {READY_DEADLINE_S:g} s\n{logs}") from None
    finally:
        for task in (answer, *ends):
            task.cancel()
        await asyncio.gather(answer, *ends, return_exceptions=True)


async def _readyz(url: str, stopping: asyncio.Event) -> None:
    """Connections wait in the backlog, so a question is rarely repeated."""
    # It is our own socket: the certificate, if there is one, is for the name that others know it by.
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=READY_DEADLINE_S) as http:  # noqa: S501
        while not stopping.is_set():
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{url}/readyz")).status_code == httpx.codes.OK:
                    return
            # "Not yet" was its own answer: hostd may still be starting.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await stopping.wait()
