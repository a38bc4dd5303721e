"""A real controller in this process over a fake host, on a port of its own; and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect

from oriel.client import AsyncOriel
from oriel.controller.composition import Address, Server, assemble
from oriel.controller.parts import Parts
from oriel.host.layout import Home
from oriel.host.settings import Settings
from oriel.porter.server import Carrying, listening
from tests.fakes.hostd import FakeDesktop, FakeHost

DEADLINE_S = 60.0


@dataclass
class Running:
    """A controller and the host below it. `restart` is a new controller on the same home."""

    home: Home
    host: FakeHost
    settings: Settings
    port: int = 0
    url: str = ""
    parts: Parts = field(init=False)
    _stop: Callable[[], Any] | None = None

    @property
    def token(self) -> str:
        return self.home.admin_token.read_text().strip()

    def http(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A client with `token`, the administrator's if None, none at all if ""."""
        token = self.token if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30, **options)

    async def ask(self, token: str, verb: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        async with self.http(token) as http:
            return await http.request(verb, path, **options)

    def sdk(self, token: str | None = None) -> AsyncOriel:
        return AsyncOriel(self.url, self.token if token is None else token)

    def websocket(
        self,
        path: str,
        *,
        token: str = "",
        ticket: str = "",
        origin: str | None = "same",
        protocols: tuple[str, ...] = (),
    ) -> connect:
        """`origin`: "same" for the page's own, None for none."""
        offered = [
            websockets.Subprotocol(name) for name in (*protocols, *([f"ticket.{ticket}"] if ticket else []))
        ]
        return connect(
            "ws" + self.url.removeprefix("http") + path,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            origin=None if origin is None else websockets.Origin(self.url if origin == "same" else origin),
            subprotocols=offered or None,
            compression=None,
            proxy=None,
            max_size=None,
        )  # fmt: skip

    async def desktop(self, name: str, token: str | None = None) -> FakeDesktop:
        """A new one that runs."""
        async with self.sdk(token) as oriel:
            await oriel.desktops.create(name, deadline_s=DEADLINE_S)
        return self.host.named(name)

    async def person(self, name: str, role: str = "user") -> str:
        """A new user's token."""
        async with self.http() as admin:
            made = await admin.post("/v1/users", json={"name": name, "role": role})
            assert made.status_code == 201, made.text
            token = await admin.post("/v1/tokens", json={"user": name, "name": "test"})
            return token.json()["token"]

    async def ticket(self, desktop: str, mode: str = "control", token: str | None = None, **more: Any) -> str:
        async with self.http(token) as http:
            answer = await http.post(f"/v1/desktops/{desktop}/tickets", json={"mode": mode, **more})
            assert answer.status_code == 201, answer.text
            return answer.json()["ticket"]

    async def state(self, name: str) -> dict[str, Any]:
        async with self.http() as http:
            return (await http.get(f"/v1/desktops/{name}")).json()

    def hold_time(self) -> None:
        """No bucket of the limits is filled from now on, however slow this machine is."""
        now = self.parts.limits._clock()
        self.parts.limits._clock = lambda: now

    async def until(self, name: str, *states: str) -> dict[str, Any]:
        """The desktop once it is in one of `states`, by its events."""
        async with self.sdk() as oriel, asyncio.timeout(DEADLINE_S):
            desktop = await oriel.desktop(name)
            async for _ in desktop.events(after=0):
                if (found := await self.state(name))["state"] in states:
                    return found
        raise AssertionError(f"{name} ended in {found['state']}")

    async def start(self) -> None:
        started, stopped = asyncio.Event(), asyncio.Event()
        address = Address.open("127.0.0.1", self.port)

        async def run() -> None:
            async with assemble(self.home, self.settings, address.url) as parts:
                self.parts, server = parts, Server(parts)
                serving = asyncio.create_task(server.serve(sockets=[address.listener]))
                await asyncio.wait([asyncio.create_task(parts.supervisor.adopted.wait())], timeout=DEADLINE_S)
                started.set()
                await stopped.wait()
                server.stop()
                await serving

        task = asyncio.create_task(run())
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        self.url = address.url

        async def stop() -> None:
            stopped.set()
            await task
            address.listener.close()

        self._stop = stop

    async def stop(self) -> None:
        if self._stop is not None:
            stop, self._stop = self._stop, None
            await stop()


@contextlib.asynccontextmanager
async def controller(
    directory: Path, port: int = 0, *, porter: bool = True, **settings: Any
) -> AsyncIterator[Running]:
    """Both, and a porter if there is to be one, on a home in `directory`; all end with the block."""
    home = Home(directory)
    async with contextlib.AsyncExitStack() as stack:
        host = await stack.enter_async_context(FakeHost(home))
        if porter:
            home.controller.mkdir(mode=0o700, parents=True, exist_ok=True)
            carrying = Carrying()
            await stack.enter_async_context(listening(home.porter_socket, carrying))
            stack.callback(carrying.close)
        # Nothing is made behind a test's back, but where it asks for that.
        running = Running(home, host, Settings(**{"pool_size": 0, "keep_templates": False} | settings), port)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()


async def refused(connecting: connect) -> tuple[int, dict[str, Any]]:
    """The status and problem with which a WebSocket was refused."""
    try:
        async with connecting:
            raise AssertionError("the WebSocket was opened")
    except websockets.InvalidStatus as error:
        return error.response.status_code, json.loads(error.response.body or b"{}")


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Read on until it is closed; with which code and reason."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async with asyncio.timeout(DEADLINE_S):
            while True:
                await socket.recv()
    return socket.close_code or 0, socket.close_reason or ""


def run_against(test: Callable[[Running], Any], settings: Mapping[str, Any], port: int = 0) -> None:
    """Run `test` over a controller of its own."""

    async def body() -> None:
        # Short, because a socket's path may have only 107 bytes.
        with tempfile.TemporaryDirectory(prefix="oc-") as directory:
            async with asyncio.timeout(300), controller(Path(directory), port, **settings) as running:
                await test(running)

    asyncio.run(body())


def against(**settings: Any) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """A test `async def test(c, …)` over a controller of its own; further arguments come from pytest."""

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**given: Any) -> None:
            run_against(functools.partial(test, **given), settings)

        signature = inspect.signature(test)
        run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        return run

    return decorate
