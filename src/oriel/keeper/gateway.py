"""A desktop's way out: the gateway process, kept running, and the sockets it serves.

The listening sockets are made inside the desktop's namespace and stay open here. When the gateway
dies, connections wait in their backlogs until the next one is there; none goes anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oriel
from oriel.egress.control import GatewayClient, gateway_argv
from oriel.egress.ledger import open_counters, read_counters
from oriel.host.process import ProcessId, end, spawn, tail
from oriel.host.threads import in_thread
from oriel.keeper.access import AccessLog
from oriel.keeper.journal import Journal
from oriel.model.egress import EgressSpec
from oriel.model.errors import HostError, InvalidError, LaunchError, OrielError, UnavailableError
from oriel.network.link import GatewaySockets

__all__ = ["EventLimit", "Gateway", "counters_of"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 10.0  # before a gateway that died is started again
STEADY_S = 10.0  # one that lived this long starts its pauses anew
CONFIGURE_DEADLINE_S = 25.0  # a busy host: it takes milliseconds, and whoever asks waits for 30 s
EVENTS_BURST, EVENTS_PER_S = 50, 1 / 6  # more than that of one desktop's denials tell nothing new
_LOG = logging.getLogger(__name__)


class Gateway:
    """One desktop's gateway. `spec` is its only memory of the upstreams' secrets."""

    def __init__(
        self,
        sockets: GatewaySockets,
        *,
        uid: int,
        log: Path,
        access: AccessLog,
        counters: Path,
        journal: Journal,
        spec: EgressSpec,
    ) -> None:
        self.spec = spec
        self._counters, self._counters_fd = counters, -1
        self._sockets = sockets
        self._uid = uid
        self._log = log
        self._access = access
        self._journal = journal
        self._client: GatewayClient | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._serving = asyncio.Event()
        self._limit = EventLimit(EVENTS_BURST, EVENTS_PER_S)
        self._keeping: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Start the process; `group` keeps it running and configured from then on. See `ready`."""
        # Once: that the disk is full later keeps no gateway from coming back.
        self._counters_fd = open_counters(self._counters)
        await self._launch()
        self._keeping = group.create_task(self._keep(), name="gateway")

    async def ready(self) -> None:
        """Until the first gateway follows `spec`. LaunchError with the tail of its log if it fails to."""
        await asyncio.shield(self._first)

    async def configure(self, spec: EgressSpec) -> None:
        """Returns once the gateway follows `spec`; a gateway that just died is waited for.

        InvalidError if it refuses; then the old one stays in force.
        """
        before, self.spec = self.spec, spec
        try:
            async with asyncio.timeout(CONFIGURE_DEADLINE_S):
                while not await self._configured(spec):
                    await self._serving.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"the gateway did not take its configuration within {CONFIGURE_DEADLINE_S:g} s",
                hint="it has it as soon as it is back; keeper.log tells why it is not",
            ) from error
        except InvalidError:
            self.spec = before
            raise

    async def _configured(self, spec: EgressSpec) -> bool:
        """Whether the gateway took `spec`; False once it is known to be gone."""
        client = self._client
        if client is None or not self._serving.is_set():
            return False
        try:
            await client.configure(spec)
        except UnavailableError:
            await client.closed()
            if self._client is client:
                self._serving.clear()
            return False
        return True

    async def counters(self) -> dict[str, Any]:
        """The gateway's counters; UnavailableError while it is being restarted."""
        return await self.client().counters(deadline_s=2)

    def client(self) -> GatewayClient:
        """The gateway that serves now; UnavailableError while it is being restarted."""
        if self._client is None or not self._serving.is_set():
            raise UnavailableError("the gateway is being restarted", hint="it is back within a second")
        return self._client

    async def close(self) -> None:
        """End the process. The listening sockets are the caller's to close. Idempotent."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        await self._end_process()
        if self._counters_fd >= 0:
            os.close(self._counters_fd)
            self._counters_fd = -1

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        fds = {
            "control_fd": theirs.fileno(),
            "proxy_fd": self._sockets.proxy.fileno(),
            "dns_udp_fd": self._sockets.dns_udp.fileno(),
            "dns_tcp_fd": self._sockets.dns_tcp.fileno(),
            "transparent_fd": self._sockets.transparent.fileno(),
            "media_fd": self._sockets.media.fileno(),
            "counters_fd": self._counters_fd,
        }
        with theirs:
            self._process = spawn(
                gateway_argv(uid=self._uid, **fds),
                log=self._log,
                env={"PYTHONPATH": str(Path(oriel.__file__).parents[1])},
                pass_fds=tuple(fds.values()),
            )
        identity = ProcessId.of(self._process.pid)
        if identity is not None:
            self._journal.record(
                "gateway.started", must_write=False, pid=identity.pid, started=identity.started
            )
        self._client = await GatewayClient.connect(ours, on_event=self._on_event)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._apply()
                await self._until_gone()
            except OrielError as error:
                _LOG.warning("the gateway does not get ready: %s", error)
                if not self._first.done():
                    self._first.set_exception(error)
                    self._first.exception()  # whether or not anyone waits for it
            code = await self._end_process()
            said = f"the gateway ended with code {code}; starting it again"
            self._journal.record("gateway.exited", said, must_write=False, code=code)
            if time.monotonic() - began > STEADY_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            await self._launch()

    async def _apply(self) -> None:
        """Configure a new process from memory."""
        assert self._client is not None  # noqa: S101 - it was just launched
        try:
            await self._client.configure(self.spec, deadline_s=CONFIGURE_DEADLINE_S)
        except UnavailableError as error:
            raise LaunchError(
                f"the gateway did not get ready: {error.message}\n{tail(self._log, 1000)}",
                hint="keeper.log in the desktop's directory has its whole output",
            ) from error
        if self._first.done():
            self._journal.record("gateway.restarted", must_write=False)
        else:
            self._first.set_result(None)
        self._serving.set()

    async def _until_gone(self) -> None:
        """Until the process has ended or let go of its control pair, after which it is of no use."""
        assert self._client is not None  # noqa: S101 - it was just configured
        await self._client.closed()

    async def _end_process(self) -> int | None:
        """Close the control pair, end the process and reap it; its exit code."""
        self._serving.clear()
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        process = self._process
        if process is None:
            return None
        identity = ProcessId.of(process.pid)
        if identity is not None:
            await end(identity, deadline_s=1)
        # Only now: cancelled before, it is ended by whoever closes this gateway next.
        self._process = None
        return process.wait()

    def _on_event(self, event: dict[str, Any]) -> None:
        kind = str(event.get("event", "unknown"))
        if kind == "access":
            self._access.write({key: value for key, value in event.items() if key != "event"})
            return
        # Only denials are the guest's to cause, as many as it likes.
        passed, dropped = self._limit.take() if kind == "denied" else (True, 0)
        if passed:
            data = {key: value for key, value in event.items() if key not in ("event", "message")}
            if dropped:
                data["dropped_before"] = dropped
            self._journal.record(f"egress.{kind}", str(event.get("message", "")), must_write=False, **data)


async def counters_of(gateway: Gateway | None, kept: Path) -> dict[str, Any]:
    """What a gateway says of itself or, while there is none, what is `kept` of its counters. `problem`: why
    it cannot be asked."""
    told: dict[str, Any] = {}
    try:
        if gateway is not None:
            return await gateway.counters()
    except UnavailableError as error:
        told["problem"] = error.message
    try:
        return told | await in_thread(lambda: read_counters(kept))
    except HostError as error:
        return told | {"problem": error.message}


class EventLimit:
    """A token bucket: `burst` at once, then `per_s`."""

    def __init__(self, burst: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._tokens, self._at, self._dropped = float(burst), clock(), 0

    def take(self) -> tuple[bool, int]:
        """Whether one more may pass, and how many were held back since the last that did."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            self._dropped += 1
            return False, 0
        self._tokens -= 1
        dropped, self._dropped = self._dropped, 0
        return True, dropped
