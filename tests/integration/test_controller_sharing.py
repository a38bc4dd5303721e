"""Several at one desktop: who is told of whom, who drives, and that the server holds the others back."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection

from oriel.client.aio.transport import Socket
from oriel.client.viewer import open_viewer
from tests.fakes.controller import DEADLINE_S, Running, against, closed
from tests.fakes.hostd import FakeDesktop


class Session:
    """One viewer's session socket; `people` is what it was told last."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.people: dict[str, Any] = {"viewers": [], "holder": None, "requests": []}
        self.id = ""

    async def say(self, kind: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **more}))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of that type; `people` is kept up to date by what comes before it."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = json.loads(await self.socket.recv())
                if message["type"] == "people":
                    self.people = message
                if message["type"] == kind:
                    return message

    async def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not true(self.people):
            await self.hear("people")
        return self.people

    async def drives(self, viewer: str | None) -> dict[str, Any]:
        return await self.until(lambda people: people["holder"] == viewer)


async def guest(c: Running, mode: str, desktop: str = "mine") -> str:
    """A grant for somebody without an account."""
    async with c.http("") as http:
        ticket = await c.ticket(desktop, mode, ttl_s=60)
        return (await http.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]


async def person(c: Running, desktop: str = "mine") -> str:
    """A ticket as the page gets it, by its cookie."""
    async with c.http("", headers={"Origin": c.url}) as http:
        await http.post("/v1/session", json={"token": c.token})
        made = await http.post(f"/v1/desktops/{desktop}/tickets", json={"mode": "control"})
        return made.json()["ticket"]


@asynccontextmanager
async def session(c: Running, ticket: str, desktop: str = "mine") -> AsyncIterator[Session]:
    async with c.websocket(f"/v1/desktops/{desktop}/webrtc", ticket=ticket) as socket:
        made = Session(socket)
        made.id = (await made.hear("welcome"))["viewer"]
        yield made


def key_down(keysym: int) -> bytes:
    return struct.pack(">BBxxI", 4, 1, keysym)


def keys(desktop: FakeDesktop) -> list[tuple[str, bool]]:
    return [(chr(what[1]), what[2]) for what in desktop.screen.done if what[0] == "key"]


@against()
async def test_who_comes_and_goes_is_told_and_kept(c: Running) -> None:
    await c.desktop("mine")
    async with session(c, await person(c)) as ann:
        await ann.drives(ann.id)
        looking = await guest(c, "view")
        async with session(c, await c.ticket("mine", "view", looking)) as eve:
            people = await ann.until(lambda people: len(people["viewers"]) == 2)
            kinds = {one["id"]: (one["kind"], one["mode"]) for one in people["viewers"]}
            assert kinds == {ann.id: ("person", "control"), eve.id: ("guest", "view")}
            await eve.say("name", name="Eve")
            await ann.until(lambda people: "Eve" in [one["name"] for one in people["viewers"]])
            await eve.say("take")
            assert (await eve.hear("refused"))["what"] == "take"
            document = await c.state("mine")
            assert (document["viewers"], document["driver"]["kind"]) == (2, "person")
        await ann.until(lambda people: len(people["viewers"]) == 1)
    missing = {"viewer.joined", "viewer.left", "control.changed"}
    async with c.sdk() as oriel, asyncio.timeout(DEADLINE_S):
        async for event in (await oriel.desktop("mine")).events(after=0):
            missing.discard(event.kind)
            if not missing:
                break


@against()
async def test_asking_handing_over_and_taking_back(c: Running) -> None:
    await c.desktop("mine")
    grant = await guest(c, "control")
    async with (
        session(c, await person(c)) as ann,
        session(c, await c.ticket("mine", "control", grant)) as bob,
    ):
        await ann.drives(ann.id)
        await ann.say("take")  # and so uses it
        await bob.say("take")
        await ann.until(lambda people: people["requests"] == [bob.id])
        await ann.say("decline", to=bob.id)
        await bob.until(lambda people: len(people["viewers"]) == 2 and people["requests"] == [])
        await bob.say("request")
        await ann.until(lambda people: people["requests"] == [bob.id])
        await ann.say("give", to=bob.id)
        await bob.drives(bob.id)
        await ann.say("take")
        await bob.drives(ann.id)


@against()
async def test_the_server_holds_back_who_does_not_drive_and_lets_go_of_their_keys(c: Running) -> None:
    desktop = await c.desktop("mine")
    grant = await guest(c, "control")
    async with (
        session(c, await person(c)) as ann,
        session(c, await c.ticket("mine", "control", grant)) as bob,
    ):
        path = f"/v1/desktops/mine/vnc?viewer={bob.id}"
        async with (
            c.websocket(f"/v1/desktops/mine/vnc?viewer={ann.id}", ticket=await person(c)) as hers,
            c.websocket(path, ticket=await c.ticket("mine", "control", grant)) as his,
            open_viewer(Socket(hers)) as first,
            open_viewer(Socket(his)) as second,
        ):
            for viewer in (first, second):
                await viewer.first_picture(deadline_s=DEADLINE_S)
            await hers.send(key_down(ord("a")))
            await first.heartbeat(deadline_s=DEADLINE_S)
            await second.type("b")
            await second.heartbeat(deadline_s=DEADLINE_S)
            assert keys(desktop) == [("a", True)]
            await ann.say("give", to=bob.id)
            await bob.drives(bob.id)
            await second.type("c")
            await second.heartbeat(deadline_s=DEADLINE_S)
            async with asyncio.timeout(DEADLINE_S):
                while ("a", False) not in keys(desktop):
                    await asyncio.sleep(0.01)
            assert [key for key in keys(desktop) if key[0] == "c"] == [("c", True), ("c", False)]


@against()
async def test_a_key_is_let_go_of_when_the_connection_breaks(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with (
        c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine")) as socket,
        open_viewer(Socket(socket)) as viewer,
    ):
        await viewer.first_picture(deadline_s=DEADLINE_S)
        await socket.send(key_down(0xFFE3))
        await viewer.heartbeat(deadline_s=DEADLINE_S)
        socket.transport.abort()
    async with asyncio.timeout(DEADLINE_S):
        while desktop.screen.done[-1] != ("key", 0xFFE3, False):
            await asyncio.sleep(0.01)


@against()
async def test_a_program_waits_while_a_person_drives_and_may_take_it(c: Running) -> None:
    desktop = await c.desktop("mine")
    mia = await c.person("mia", "admin")
    async with session(c, await person(c)) as ann, c.http(mia) as agent:
        await ann.say("take")
        await ann.drives(ann.id)
        answer = await agent.post("/v1/desktops/mine/computer/type", json={"text": "x"})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_driving")
        size = {"width": 800, "height": 600}
        answer = await agent.put("/v1/desktops/mine/computer/screen", json=size)
        assert answer.status_code == 409
        taken = (await agent.post("/v1/desktops/mine/control", json={"action": "take"})).json()
        assert taken["holder"] == taken["you"]
        people = await ann.drives(taken["you"])
        names = {one["id"]: (one["name"], one["kind"]) for one in people["viewers"]}
        assert names[taken["you"]] == ("test", "agent")
        assert (await agent.post("/v1/desktops/mine/computer/type", json={"text": "x"})).status_code == 204
        answer = await agent.put("/v1/desktops/mine/computer/screen", json={"width": 801, "height": 600})
        assert answer.json() == size
    # Only what was allowed came to the guest, beside the watch over downloads that the session keeps.
    asked = [verb for verb, _ in desktop.agent.asked if verb != "downloads_watch"]
    assert asked == ["input", "screen_set"]


@against()
async def test_a_link_taken_back_closes_what_is_open_by_it_at_once(c: Running) -> None:
    await c.desktop("mine")
    kept, grant = await guest(c, "view"), await guest(c, "control")
    async with (
        session(c, await c.ticket("mine", "view", kept)) as stays,
        session(c, await c.ticket("mine", "control", grant)) as goes,
        c.websocket(
            f"/v1/desktops/mine/vnc?viewer={goes.id}", ticket=await c.ticket("mine", token=grant)
        ) as vnc,
        c.http() as http,
    ):
        links = (await http.get("/v1/desktops/mine/shares")).json()["items"]
        (taken,) = (link["id"] for link in links if link["mode"] == "control")
        assert (await http.delete(f"/v1/desktops/mine/shares/{taken}")).status_code == 204
        for socket in (goes.socket, vnc):
            code, _ = await closed(socket)
            assert code == 4401
        async with c.http(grant) as guest_http:
            assert (await guest_http.get("/v1/desktops/mine")).status_code == 401
        await stays.say("ping", id=7)
        assert (await stays.hear("pong"))["id"] == 7


@against()
async def test_a_session_is_nobody_else_s(c: Running) -> None:
    await c.desktop("mine")
    grant = await guest(c, "control")
    async with session(c, await person(c)) as ann:
        path = f"/v1/desktops/mine/vnc?viewer={ann.id}"
        async with c.websocket(path, ticket=await c.ticket("mine", "control", grant)) as stolen:
            assert (await closed(stolen))[0] == 4404


@against()
async def test_what_is_no_message_closes_and_a_flood_too(c: Running) -> None:
    await c.desktop("mine")
    for nonsense in ("nonsense", "[]", "{}", '{"type":"people"}', '{"type":"' + "x" * 70_000, "[" * 60_000):
        async with session(c, await c.ticket("mine")) as one:
            await one.socket.send(nonsense)
            assert (await closed(one.socket))[0] == 4422
    async with session(c, await c.ticket("mine")) as one:
        for number in range(300):
            await one.say("ping", id=number)
        assert (await closed(one.socket))[0] == 4429
