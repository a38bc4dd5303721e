"""The keeper's hand on its gateway: one end of a socket pair, lines of JSON both ways.

Nothing here imports the gateway itself, so the keeper stays small. The gateway's side is `service`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from oriel.model.egress import EgressSpec
from oriel.model.errors import OrielError, UnavailableError
from oriel.model.wire import MAX_LINE, read_line, write_line

__all__ = ["GatewayClient", "gateway_argv"]

MAX_WAITING_EVENTS = 4096  # the oldest go first if nobody iterates over `events()`

EventHandler = Callable[[dict[str, Any]], None]


def gateway_argv(
    *,
    control_fd: int,
    uid: int | None = None,
    proxy_fd: int | None = None,
    dns_udp_fd: int | None = None,
    dns_tcp_fd: int | None = None,
    transparent_fd: int | None = None,
    media_fd: int | None = None,
    counters_fd: int | None = None,
) -> list[str]:
    """The gateway's command line. Pass the same descriptors as `pass_fds`; they may be bound sockets of
    another network namespace. Listening is the opener's work. Started as root it becomes `uid`. It
    carries no secret."""
    numbers = {
        "--uid": uid,
        "--control-fd": control_fd,
        "--proxy-fd": proxy_fd,
        "--dns-udp-fd": dns_udp_fd,
        "--dns-tcp-fd": dns_tcp_fd,
        "--transparent-fd": transparent_fd,
        "--media-fd": media_fd,
        "--counters-fd": counters_fd,
    }
    words = [word for name, n in numbers.items() if n is not None for word in (name, str(n))]
    return [sys.executable, "-P", "-m", "oriel.egress", *words]


class GatewayClient:
    """Asks one gateway. Any number of requests may be under way at once.

    Every method raises UnavailableError once the gateway is gone or when it does not answer in time,
    and the gateway's own error (InvalidError with all faults for a bad spec) otherwise.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_event: EventHandler | None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._last_id = 0
        self._listener = asyncio.create_task(self._listen(), name="gateway-control")

    @classmethod
    async def connect(cls, sock: socket.socket, *, on_event: EventHandler | None = None) -> GatewayClient:
        """Take over the keeper's end of the socket pair (closed by `close`).

        `on_event` is called in the loop for each event, instead of `events()`; it must not raise.
        """
        reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_LINE)
        return cls(reader, writer, on_event)

    async def configure(self, spec: EgressSpec, *, deadline_s: float = 10) -> None:
        """Returns once the gateway follows `spec`: what it forbids is closed by then. If it is refused
        (InvalidError) the gateway goes on as before."""
        await self._ask("configure", spec.to_wire(), deadline_s)

    async def counters(self, *, deadline_s: float = 5) -> dict[str, Any]:
        """`{mode, proxy, exit_ip, bytes_in, bytes_out, connections, open, denied, denied_by_reason,
        upstream_errors, upstream_ok, quota_used, latency_ms: {count, sum, p50, p95, buckets}}`; `_in`
        is towards the guest."""
        return await self._ask("counters", {}, deadline_s)

    async def check(
        self, url: str = "", echo_url: str = "", *, ports: Sequence[int] = (), deadline_s: float = 30
    ) -> dict[str, Any]:
        """Try an upstream (`url`, with its credentials; "" for the one configured, or direct).

        Returns `{reachable, authenticated, latency_ms, exit_ip, ports, problem, hint}`. `authenticated` is
        None without an `echo_url` (an http or https address that answers with the caller's own): only a
        request through a proxy shows whether it accepts the credentials. In `ports`, for each asked for,
        whether the proxy allows it, tried on the echo's host; None where that does not answer.
        """
        args = {"url": url, "echo_url": echo_url, "ports": list(ports)}
        return await self._ask("check", args | {"deadline_s": max(1.0, deadline_s - 1)}, deadline_s)

    async def media_open(
        self, addresses: Sequence[str], port: int, *, deadline_s: float = 5
    ) -> dict[str, Any]:
        """Begin a session of the live view: `{session, port, viewer: {ufrag, pwd}, guest: {ufrag, pwd}}`."""
        return await self._ask("media_open", {"addresses": list(addresses), "port": port}, deadline_s)

    async def media_restart(self, session: str, *, deadline_s: float = 5) -> dict[str, Any]:
        """New credentials for the viewer's side: `{viewer: {ufrag, pwd}}`."""
        return await self._ask("media_restart", {"session": session}, deadline_s)

    async def media_close(self, session: str, *, deadline_s: float = 5) -> None:
        """End a session: nothing of it passes any more. Idempotent."""
        await self._ask("media_close", {"session": session}, deadline_s)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Each event (`{"event": "denied" | "upstream" | "access" | …}`) in order; ends with the gateway."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._gone.is_set():
                return
            self._news.clear()
            await self._news.wait()

    async def closed(self) -> None:
        """Returns when the gateway has gone (or `close` was called)."""
        await self._gone.wait()

    async def close(self) -> None:
        """Close the control pair: the gateway exits, and its sockets with it. Idempotent."""
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _ask(self, verb: str, args: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        if self._gone.is_set():
            raise UnavailableError("the gateway is gone", hint="the keeper starts a new one by itself")
        self._last_id += 1
        number = self._last_id
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(deadline_s):
                await write_line(self._writer, {"id": number, "verb": verb, "args": args})
                reply = await answer
        except TimeoutError as error:
            raise UnavailableError(f"the gateway did not answer {verb!r} within {deadline_s:g} s") from error
        except OSError as error:
            raise UnavailableError(f"the gateway went away before it was asked {verb!r}") from error
        finally:
            del self._waiting[number]
        if reply.get("ok") is True:
            return dict(reply.get("result") or {})
        raise OrielError.from_wire(reply.get("error") or {})

    async def _listen(self) -> None:
        try:
            while (line := await read_line(self._reader)) is not None:
                self._take(line)
        except (OSError, OrielError) as error:
            self._fail(UnavailableError(f"the gateway's control broke: {error}"))
        finally:
            self._gone.set()
            self._news.set()
            self._fail(UnavailableError("the gateway went away before it answered"))

    def _take(self, line: dict[str, Any]) -> None:
        if "event" not in line:
            answer = self._waiting.get(line.get("id", -1))
            if answer is not None and not answer.done():
                answer.set_result(line)
        elif self._on_event is not None:
            self._on_event(line)
        else:
            self._events.append(line)
            self._news.set()

    def _fail(self, error: UnavailableError) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
