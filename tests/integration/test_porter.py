"""Screens and downloads that outlive the controller that let them in, and end when a later one says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from oriel.client import AsyncOriel
from oriel.client.viewer import Viewer, open_viewer
from oriel.host.layout import Home
from oriel.host.records import read_json
from oriel.porter.channel import VERSION, Channel
from tests.fakes.agent import OFFER
from tests.fakes.controller import Running, against
from tests.fakes.hostd import FakeHost

DEADLINE_S = 60.0
CONTENT = os.urandom(48 << 20)


@dataclass
class Processes:
    """A porter and a controller as processes of their own, over a host without machines."""

    home: Home
    host: FakeHost
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    url: str = ""

    async def launch(self, name: str, *more: str) -> None:
        with (self.home.root / f"{name}.out").open("ab") as out:
            command = [sys.executable, "-m", f"oriel.{name}", "--home", str(self.home.root), *more]
            self.running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        async with asyncio.timeout(DEADLINE_S):
            while not await self._is_ready(name):
                assert self.running[name].poll() is None, (self.home.root / f"{name}.out").read_text()
                await asyncio.sleep(0.05)

    async def _is_ready(self, name: str) -> bool:
        if name == "porter":
            return self.home.porter_socket.exists()
        self.url = str((read_json(self.home.controller_record) or {}).get("url", ""))
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False) as http:
                return bool(self.url) and (await http.get(f"{self.url}/readyz")).status_code == 200
        return False

    async def launch_controller(self) -> None:
        await self.launch("controller", "--port", "0", "--pool-size", "0")

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()
        if name == "controller":
            self.home.controller_record.unlink()

    def sdk(self, token: str = "") -> AsyncOriel:
        return AsyncOriel(self.url, token or self.home.admin_token.read_text().strip())

    def http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.home.admin_token.read_text().strip()}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=DEADLINE_S)

    async def until_carried(self, count: int) -> None:
        """Until the controller knows of so many open screens."""
        async with asyncio.timeout(DEADLINE_S), self.http() as http:
            while f'oriel_connections{{kind="vnc"}} {float(count)}' not in (await http.get("/metrics")).text:
                await asyncio.sleep(0.05)


@dataclass
class Said:
    """One viewer's session socket, and what was heard on it."""

    socket: ClientConnection
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, kind: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **more}))

    async def hear(self, kind: str, **like: Any) -> dict[str, Any]:
        """A message of that type that has these fields, whenever it came."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for message in self.heard:
                    if message["type"] == kind and all(message[key] == like[key] for key in like):
                        return message
                self.heard.append(json.loads(await self.socket.recv()))

    async def closed(self) -> tuple[int, str]:
        async with asyncio.timeout(DEADLINE_S):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@contextlib.asynccontextmanager
async def other_controller(home: Home) -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as sock:
        sock.connect(str(home.porter_socket))
        yield sock


@contextlib.asynccontextmanager
async def processes() -> AsyncIterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="op-") as directory:
        home = Home(Path(directory))
        async with FakeHost(home) as host:
            made = Processes(home, host)
            try:
                await made.launch("porter")
                await made.launch_controller()
                yield made
            finally:
                for process in made.running.values():
                    process.kill()
                    process.wait()


async def looking(oriel: AsyncOriel, stack: contextlib.AsyncExitStack, name: str) -> Viewer:
    """A viewer that has seen the first picture."""
    handle = await oriel.desktop(name)
    ticket = (await handle.ticket("control")).ticket
    viewer = await stack.enter_async_context(open_viewer(await handle.vnc(ticket=ticket)))
    await viewer.first_picture(deadline_s=DEADLINE_S)
    return viewer


async def sent_away(viewer: Viewer) -> str:
    """The code it is told when its connection is closed."""
    async with asyncio.timeout(DEADLINE_S):
        await viewer.ended.wait()
    assert viewer.broken is not None
    return viewer.broken.code


def test_a_screen_and_a_download_do_not_notice_a_controller_killed() -> None:
    async def scenario(p: Processes) -> None:
        async with contextlib.AsyncExitStack() as stack:
            oriel = await stack.enter_async_context(p.sdk())
            await oriel.desktops.create("mine", deadline_s=DEADLINE_S)
            fake = p.host.named("mine")
            fake.agent.files["/big"] = CONTENT
            viewer = await looking(oriel, stack, "mine")
            http = await stack.enter_async_context(p.http())
            download = await stack.enter_async_context(
                http.stream("GET", "/v1/desktops/mine/files?path=/big")
            )
            pieces = download.aiter_raw()
            taken = bytearray(await anext(pieces))

            p.kill("controller")
            await viewer.type("dead")
            await viewer.heartbeat(deadline_s=DEADLINE_S)
            assert [chr(key) for key, down in fake.screen.keys if down] == list("dead")
            async for piece in pieces:
                taken += piece
            assert taken == CONTENT

            await p.launch_controller()
            await p.until_carried(1)
            await viewer.type("ok")
            await viewer.heartbeat(deadline_s=DEADLINE_S)
            assert "".join(chr(key) for key, down in fake.screen.keys if down) == "deadok"

    asyncio.run(_with(scenario))


def test_a_session_and_its_live_view_do_not_notice_a_controller_killed() -> None:
    """What is said while there is none is heard by the next; who drove drives on; nobody is asked anew."""

    async def scenario(p: Processes) -> None:
        async with contextlib.AsyncExitStack() as stack:
            oriel = await stack.enter_async_context(p.sdk())
            await oriel.desktops.create("mine", deadline_s=DEADLINE_S)
            fake = p.host.named("mine")
            handle = await oriel.desktop("mine")
            said = Said(await stack.enter_async_context(
                connect(
                    f"ws{p.url.removeprefix('http')}/v1/desktops/mine/webrtc", proxy=None,
                    origin=Origin(p.url),
                    subprotocols=[Subprotocol(f"ticket.{(await handle.ticket('control')).ticket}")],
                )
            ))  # fmt: skip
            me = (await said.hear("welcome"))["viewer"]
            await said.say("take")
            await said.hear("people", holder=me)
            await said.say("rung", rung="udp")
            await said.say("hello", version=1, codecs=["h264"])
            assert "a=ice-ufrag:viewer1\r\n" in (await said.hear("offer", fresh=True))["sdp"]

            p.kill("controller")
            await said.say("answer", peer="video", sdp=OFFER)
            await said.say("restart", transport="tcp")
            await said.say("ping", id=7)
            await said.hear("pong", id=7)
            said.heard.clear()
            assert fake.agent.streaming == 1

            await p.launch_controller()
            offer = await said.hear("offer", fresh=False)
            assert "a=ice-ufrag:viewer2\r\n" in offer["sdp"]
            assert " UDP " not in offer["sdp"]
            people = await said.hear("people", holder=me)
            assert [(one["id"], one["rung"]) for one in people["viewers"]] == [(me, "udp")]
            [told] = fake.agent.streams
            assert [line["type"] for line in told].count("answer") == 1

            async with p.http() as http:
                assert (await http.delete("/v1/desktops/mine")).status_code == 204
            assert await said.closed() == (4404, "not_found")

    asyncio.run(_with(scenario))


def test_a_controller_and_a_porter_of_other_versions_part() -> None:
    """As at an upgrade: the porter that is not understood quits, and the installed one is used."""

    async def scenario(p: Processes) -> None:
        async with contextlib.AsyncExitStack() as stack:
            oriel = await stack.enter_async_context(p.sdk())
            await oriel.desktops.create("mine", deadline_s=DEADLINE_S)
            viewer = await looking(oriel, stack, "mine")
            p.kill("controller")
            sock = await stack.enter_async_context(other_controller(p.home))
            sock.send(b'{"do":"hello","version":99}')
            assert json.loads(await asyncio.get_running_loop().sock_recv(sock, 1000)) == {
                "say": "hello", "version": VERSION,
            }  # fmt: skip
            # Nothing is told to one that might not understand it.
            sock.send(b'{"do":"quit"}')
            assert await sent_away(viewer) == "unavailable"
            async with asyncio.timeout(DEADLINE_S):
                assert await asyncio.to_thread(p.running["porter"].wait) == 0
            await p.launch("porter")
            await p.launch_controller()
            again = await looking(await stack.enter_async_context(p.sdk()), stack, "mine")
            await again.heartbeat(deadline_s=DEADLINE_S)

    asyncio.run(_with(scenario))


@against(porter=False)
async def test_a_porter_of_another_version_is_told_to_quit_and_not_used(c: Running) -> None:
    heard: asyncio.Queue[dict] = asyncio.Queue()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    listener.bind(str(c.home.porter_socket))
    listener.listen(1)
    with listener:
        async with asyncio.timeout(DEADLINE_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            channel = Channel(sock, lambda message, _: heard.put_nowait(message), lambda: None)
            channel.send({"say": "hello", "version": VERSION + 1})
            assert await heard.get() == {"do": "hello", "version": VERSION}
            assert await heard.get() == {"do": "quit"}
        assert not c.parts.porter.there
        channel.close()


def test_what_was_open_before_a_restart_ends_with_the_right_to_it() -> None:
    async def scenario(p: Processes) -> None:
        async with contextlib.AsyncExitStack() as stack:
            admin = await stack.enter_async_context(p.sdk())
            async with p.http() as http:
                await http.post("/v1/users", json={"name": "ann", "role": "user"})
                made = (await http.post("/v1/tokens", json={"user": "ann", "name": "t"})).json()
            ann = await stack.enter_async_context(p.sdk(made["token"]))
            await ann.desktops.create("hers", deadline_s=DEADLINE_S)
            await admin.desktops.create("mine", deadline_s=DEADLINE_S)
            hers, mine = await looking(ann, stack, "hers"), await looking(admin, stack, "mine")
            p.kill("controller")
            await p.launch_controller()
            await p.until_carried(2)

            async with p.http() as http:
                assert (await http.delete(f"/v1/tokens/{made['id']}")).status_code == 204
                assert await sent_away(hers) == "unauthenticated"
                await mine.heartbeat(deadline_s=DEADLINE_S)
                assert (await http.delete("/v1/desktops/mine")).status_code == 204
                assert await sent_away(mine) == "not_found"
                await p.until_carried(0)

    asyncio.run(_with(scenario))


def test_who_lost_the_right_while_there_was_no_controller_is_sent_away() -> None:
    async def scenario(p: Processes) -> None:
        async with contextlib.AsyncExitStack() as stack:
            admin = await stack.enter_async_context(p.sdk())
            await admin.desktops.create("mine", deadline_s=DEADLINE_S)
            viewer = await looking(admin, stack, "mine")
            p.kill("controller")
            # As if it had started anew meanwhile: the right was for the run before.
            with contextlib.closing(sqlite3.connect(p.home.database)) as database, database:
                database.execute("UPDATE desktops SET ready_at = '2026-01-01T00:00:00.000Z'")
            await p.launch_controller()
            assert await sent_away(viewer) == "unauthenticated"

    asyncio.run(_with(scenario))


@against(porter=False)
async def test_without_a_porter_the_controller_carries_by_itself(c: Running) -> None:
    desktop = await c.desktop("mine")
    desktop.agent.files["/small"] = b"small"
    async with c.sdk() as oriel, contextlib.AsyncExitStack() as stack:
        viewer = await looking(oriel, stack, "mine")
        await viewer.type("ok")
        await viewer.heartbeat(deadline_s=DEADLINE_S)
        async with c.http() as http:
            assert (await http.get("/v1/desktops/mine/files?path=/small")).content == b"small"
    assert "".join(chr(key) for key, down in desktop.screen.keys if down) == "ok"


async def _with(scenario: Callable[[Processes], Awaitable[None]]) -> None:
    async with asyncio.timeout(300), processes() as p:
        await scenario(p)
