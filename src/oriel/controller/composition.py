"""The composition root: every part made in order, ended in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn

from oriel.controller.admission import Admission
from oriel.controller.api.session_socket import go_on
from oriel.controller.app import build_app
from oriel.controller.attending import take_up
from oriel.controller.background import background, begin, finish
from oriel.controller.bus import Bus
from oriel.controller.countries import Countries
from oriel.controller.credentials import Credentials
from oriel.controller.draining import Draining
from oriel.controller.limits import Limits
from oriel.controller.links import Links
from oriel.controller.live import Live
from oriel.controller.metrics import Metrics
from oriel.controller.moments import Moments
from oriel.controller.parts import Parts
from oriel.controller.passwords import Passwords
from oriel.controller.pool import Pool
from oriel.controller.room import Room
from oriel.controller.sharing import Sharing
from oriel.controller.sign_on import SignOn
from oriel.controller.stills import Stills
from oriel.controller.store.database import Database
from oriel.controller.store.quotas import FIELDS, Quotas
from oriel.controller.supervisor import Supervisor
from oriel.controller.templates import Templates
from oriel.controller.tickets import Tickets
from oriel.controller.tls import Certificate
from oriel.controller.transports import HttpConnection, WebSocketConnection
from oriel.controller.vault import Vault
from oriel.fleet import LocalHost
from oriel.host.layout import Home
from oriel.host.program import CHECKOUT
from oriel.host.records import write_process
from oriel.host.settings import Settings
from oriel.host.systemd import notify
from oriel.model.errors import HostError, StateError
from oriel.porter import Porter

__all__ = ["Address", "Server", "alone", "assemble", "make_directories", "serve"]

GRACE_S = 3  # for answers under way when we stop
# Seconds between pings; a viewer that vanished is noticed within two of them.
PING_S = 20.0
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Address:
    """Where we listen: a socket, and the URL that reaches it."""

    listener: socket.socket
    url: str

    @staticmethod
    def open(host: str, port: int, scheme: str = "http") -> Address:
        """HostError if the port is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise HostError(
                f"cannot listen on {host} port {port}: {error.strerror}", hint="choose another with --port"
            ) from error
        listener.listen(1024)
        return Address(listener, _url_of(listener, scheme))

    @staticmethod
    def inherited(fd: int, scheme: str = "http", url: str = "") -> Address:
        """`url`: as whoever opened it calls it."""
        listener = socket.socket(fileno=fd)
        return Address(listener, url or _url_of(listener, scheme))


def _url_of(listener: socket.socket, scheme: str) -> str:
    """As people of this machine can type it."""
    host, port = listener.getsockname()[:2]
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - only compared
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.asynccontextmanager
async def assemble(home: Home, settings: Settings, url: str) -> AsyncIterator[Parts]:
    """Every part, running; ended in reverse with the block. StateError if another controller has the home.

    Desktops are looked at in the background, as soon as the host's service answers.
    """
    async with contextlib.AsyncExitStack() as stack:
        make_directories(home)
        stack.enter_context(alone(home))
        vault = Vault(home.secret_key)
        countries = Countries(settings.country_database)
        stack.callback(countries.close)
        bus = Bus()
        database = Database(settings.database_url or f"sqlite:///{home.database}")
        stack.push_async_callback(database.close)
        await database.open(bus.publish)
        passwords = Passwords()
        credentials = Credentials(database, passwords)
        await credentials.ensure_admin(home.admin_token)
        fleet, live, tickets = LocalHost(home), Live(settings.connections_per_user), Tickets()
        stills = Stills(home.stills, fleet, settings.still_interval_s)
        stack.push_async_callback(stills.close)
        sharing = Sharing(database)
        stack.push_async_callback(sharing.close)
        group = await stack.enter_async_context(background())
        draining = Draining()
        room = Room(fleet, settings, draining)
        admission = Admission(fleet, database, room, settings)
        templates = Templates(fleet, admission, room, settle_s=settings.template_settle_s)
        pool = Pool(
            fleet=fleet, database=database, admission=admission, templates=templates, room=room,
            settings=settings,
        )  # fmt: skip
        supervisor = Supervisor(
            group,
            bus=bus,
            database=database,
            fleet=fleet,
            vault=vault,
            live=live,
            tickets=tickets,
            room=room,
            settings=settings,
            draining=draining,
        )
        metrics = Metrics()
        porter = Porter(
            home.porter_socket, lambda one: _create(group, take_up(parts, one, go_on), f"{one.kind} {one.id}")
        )
        parts = Parts(
            settings=settings, url=url, web=settings.web_directory or CHECKOUT / "web/dist",
            database=database, bus=bus, vault=vault, fleet=fleet, passwords=passwords, countries=countries,
            sign_on=SignOn(settings, vault),
            credentials=credentials, tickets=tickets, links=Links(database, tickets, settings.grant_ttl_s),
            quotas=Quotas({name: getattr(settings, f"quota_{name}") for name in FIELDS}), live=live,
            limits=Limits(settings.requests_per_second, settings.request_burst),
            metrics=metrics, supervisor=supervisor, draining=draining, admission=admission,
            room=room, templates=templates, pool=pool,
            stills=stills, sharing=sharing, porter=porter,
            moments=Moments(
                supervisor, fleet=fleet, live=live, room=room, settings=settings, draining=draining
            ),
        )  # fmt: skip
        stack.push_async_callback(finish, parts)
        begin(group, parts)
        stack.callback(live.close)
        stack.callback(bus.close)
        stack.callback(porter.close)
        yield parts


class Server(uvicorn.Server):
    """uvicorn over `parts`. `stop` ends it, streams first: they never end by themselves."""

    def __init__(self, parts: Parts, certificate: Certificate | None = None) -> None:
        self._parts = parts
        tls: dict[str, Any] = {}
        if certificate is not None:
            tls["ssl_context_factory"] = lambda _config, _default: certificate.context
        super().__init__(
            uvicorn.Config(
                build_app(parts), log_config=None, access_log=False, server_header=False,
                proxy_headers=bool(parts.settings.trusted_proxies),
                forwarded_allow_ips=list(parts.settings.trusted_proxies),
                lifespan="off", ws_max_size=16 << 20, ws_per_message_deflate=False,
                ws_ping_interval=PING_S, ws_ping_timeout=PING_S, timeout_graceful_shutdown=GRACE_S,
                http=HttpConnection, ws=WebSocketConnection, **tls,
            )
        )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the composition's."""
        yield

    def stop(self) -> None:
        self.should_exit = True
        self._parts.porter.close()  # what it carries goes on
        self._parts.bus.close()
        self._parts.live.close()


async def serve(home: Home, settings: Settings, address: Address) -> None:
    """Serve until SIGTERM or SIGINT. Desktops go on without us."""
    certificate = _certificate(settings)
    async with assemble(home, settings, address.url) as parts:
        server = Server(parts, certificate)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        # A certificate is for a name, which only the operator knows.
        named = certificate is not None and settings.public_url
        write_process(home.controller_record, url=settings.public_url if named else address.url)
        _LOG.info("serving", url=address.url, home=str(home.root))
        notify("READY=1")
        try:
            async with _fresh(certificate):
                await server.serve(sockets=[address.listener])
        finally:
            home.controller_record.unlink(missing_ok=True)
    _LOG.info("stopped")


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key)


@contextlib.asynccontextmanager
async def _fresh(certificate: Certificate | None) -> AsyncIterator[None]:
    """While the block runs, a renewed certificate is taken up; at once on SIGHUP."""
    loop = asyncio.get_running_loop()
    if certificate is None:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # else it would end us
        yield
        return
    loop.add_signal_handler(signal.SIGHUP, certificate.wanted.set)
    keeping = loop.create_task(certificate.keep_fresh(), name="certificate")
    try:
        yield
    finally:
        keeping.cancel()


def make_directories(home: Home) -> None:
    """Those the controller writes to. HostError if it may not."""
    for directory in (home.controller, home.stills):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(home.controller, os.W_OK):
        raise HostError(
            f"{home.controller} cannot be written", hint="it must belong to the user the controller runs as"
        )


@contextlib.contextmanager
def alone(home: Home) -> Iterator[None]:
    """One controller per home; the lock ends with the process, however that ends."""
    fd = os.open(home.controller, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StateError(
            f"another controller serves {home.root}", hint="stop it first: ./run --stop"
        ) from error
    try:
        yield
    finally:
        os.close(fd)


def _create(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> None:
    group.create_task(work, name=name)
