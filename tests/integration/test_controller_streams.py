"""The live connections: screen, commands, Chrome; that they end when they must and harm nobody else."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets

from oriel.client.viewer import open_viewer
from oriel.model.state import State
from tests.fakes.controller import Running, against, closed, refused


@against()
async def test_a_viewer_sees_and_drives(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        handle = await oriel.desktop("mine")
        ticket = (await handle.ticket("control")).ticket
        async with open_viewer(await handle.vnc(ticket=ticket)) as viewer:
            picture = await viewer.first_picture(deadline_s=5)
            assert (picture.width, picture.height) == (1280, 720)
            await viewer.type("ok")
            await viewer.click(5, 6)
            await viewer.heartbeat(deadline_s=5)
    keys = [chr(what[1]) for what in desktop.screen.done if what[0] == "key" and what[2]]
    assert keys == ["o", "k"]
    assert ("pointer", 5, 6, 1) in desktop.screen.done


@against()
async def test_who_may_only_look_sees_and_drives_nothing(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        handle = await oriel.desktop("mine")
        ticket = (await handle.ticket("view")).ticket
        async with open_viewer(await handle.vnc(ticket=ticket)) as viewer:
            await viewer.first_picture(deadline_s=5)
            await viewer.type("ok")
            await viewer.click(5, 6)
            # Answered behind the keys: had they passed, they would be there by now.
            await viewer.heartbeat(deadline_s=5)
    assert desktop.screen.done == []
    assert desktop.screen.shared == [1]


@against()
async def test_the_subprotocol_a_browser_insists_on(c: Running) -> None:
    await c.desktop("mine")
    for protocols, chosen in ((("binary",), "binary"), ((), "ticket")):
        ticket = await c.ticket("mine")
        async with c.websocket("/v1/desktops/mine/vnc", ticket=ticket, protocols=protocols) as socket:
            assert socket.subprotocol is not None
            assert socket.subprotocol.startswith(chosen)
            assert await socket.recv() == b"RFB 003.008\n"


@against()
async def test_a_command_streams_both_ways(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        handle = await oriel.desktop("mine")
        async with await handle.command(["cat"]) as command:
            await command.write(b"x" * 300_000)
            await command.close_input()
            said = b"".join([data async for channel, data in command if channel == 1])
            assert (len(said), command.exit_code) == (300_000, 0)
        async with await handle.terminal(rows=24, columns=80) as shell:
            await shell.write(b"typed")
            await shell.resize(30, 100)
            async for _, data in shell:
                assert data == b"typed"
                await shell.send_signal(15)
            assert shell.exit_code == 143
    assert desktop.agent.asked[-1][1]["argv"] == ["/bin/bash", "--login"]
    assert desktop.agent.asked[-1][1]["tty"] == {"rows": 24, "cols": 80, "term": "xterm-256color"}


@against()
async def test_a_command_ends_with_its_caller(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/exec", token=c.token, origin=None) as socket:
        await socket.send(json.dumps({"argv": ["sleep", "60"]}))
        async with asyncio.timeout(30):
            while not desktop.agent.asked:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        while not desktop.agent.ended:
            await asyncio.sleep(0.01)
    assert desktop.agent.ended == [["sleep", "60"]]


@pytest.mark.parametrize(
    "first",
    ["nonsense", "[]", "{}", '{"argv": []}', '{"argv": "ls"}', '{"argv": ["ls"], "user": "root"}', b"\x00"],
)
@against()
async def test_what_is_no_command(c: Running, first: str | bytes) -> None:
    desktop = await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/exec", token=c.token, origin=None) as socket:
        await socket.send(first)
        code, _ = await closed(socket)
    assert code == 4422
    assert desktop.agent.asked == []


@against()
async def test_chrome_answers_whole_messages(c: Running) -> None:
    await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/cdp", token=c.token, origin=None) as socket:
        for number in range(3):
            await socket.send(json.dumps({"id": number, "method": "x" * 70_000 * number}))
        for number in range(3):
            answer = json.loads(await socket.recv())
            assert (answer["id"], len(answer["result"]["echo"])) == (number, 70_000 * number)


@against()
async def test_a_desktop_that_does_not_run_has_no_streams(c: Running) -> None:
    await c.desktop("mine")
    async with c.http() as http:
        await http.post("/v1/desktops/mine/stop")
    for kind in ("vnc", "cdp", "exec", "terminal"):
        status, document = await refused(c.websocket(f"/v1/desktops/mine/{kind}", token=c.token, origin=None))
        assert (status, document["code"]) == (409, "wrong_state"), kind


@against()
async def test_deleting_closes_what_is_open_at_once(c: Running) -> None:
    await c.desktop("mine")
    async with (
        c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine")) as socket,
        c.http() as http,
    ):
        assert await socket.recv()
        deleting = asyncio.create_task(http.delete("/v1/desktops/mine"))
        code, reason = await closed(socket)
        assert (code, reason) == (4404, "not_found")
        assert (await deleting).status_code == 204


@against()
async def test_revoking_a_token_closes_what_it_opened(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("mine", ann)
    async with c.http(ann) as http:
        token_id = (await http.get("/v1/tokens")).json()["items"][0]["id"]
        async with (
            c.websocket("/v1/desktops/mine/vnc", token=ann, origin=None) as by_token,
            c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine", token=ann)) as by_ticket,
        ):
            waiting = await c.ticket("mine", token=ann)
            assert (await http.delete(f"/v1/tokens/{token_id}")).status_code == 204
            for socket in (by_token, by_ticket):
                assert (await closed(socket))[0] == 4401
        assert (await refused(c.websocket("/v1/desktops/mine/vnc", ticket=waiting)))[0] == 401


@against()
async def test_a_machine_that_dies_ends_its_viewers_and_says_why(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine")) as socket:
        assert await socket.recv()
        await desktop.die("out of memory")
        for task in list(desktop._connections):
            if task.get_coro() is not None and desktop.state is State.FAILED:
                task.cancel()
        assert (await closed(socket))[0] in (1000, 4503)
    error = (await c.until("mine", "failed"))["error"]
    assert "out of memory" in error["message"]
    assert error["console"] == "fake console\n"


@against()
async def test_a_slow_viewer_costs_no_memory(c: Running) -> None:
    """It takes nothing; the desktop must be held back, and others must not be."""
    desktop = await c.desktop("mine")
    ticket = await c.ticket("mine")
    async with websockets.connect(
        f"ws{c.url.removeprefix('http')}/v1/desktops/mine/vnc", origin=websockets.Origin(c.url),
        compression=None, subprotocols=[websockets.Subprotocol(f"ticket.{ticket}")], proxy=None,
        max_queue=1, max_size=None,
    ) as slow:  # fmt: skip
        for part in (b"RFB 003.008\n", b"\x01", b"\x01"):
            await slow.send(part)
        for _ in range(60):
            await slow.send(b"\x03\x00" + bytes(8))
        await asyncio.sleep(1)
        sent = c.parts.metrics.relayed.labels(kind="vnc", direction="out")._value.get()
        assert sent < 20 << 20, "220 MB were asked for, and nobody takes them"
        async with c.http() as http, asyncio.timeout(30):
            assert (await http.get("/v1/desktops/mine")).status_code == 200
        slow.transport.abort()
    assert desktop.screen.done == []


@against()
async def test_a_viewer_link_works_for_somebody_without_an_account(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.http() as http:
        link = (await http.post("/v1/desktops/mine/tickets", json={"mode": "view", "ttl_s": 3600})).json()[
            "viewer_url"
        ]
    assert link.startswith(f"{c.url}/desktops/mine#ticket=")
    ticket = link.rpartition("=")[2]
    async with c.http("") as nobody:
        redeemed = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()
        assert redeemed["mode"] == "view"
        assert (redeemed["desktop"]["name"], redeemed["desktop"]["owner"]) == ("mine", "")
        assert (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).status_code == 401
    async with c.http(redeemed["grant"]) as guest:
        assert (await guest.get("/v1/desktops/mine")).json()["session_id"] == ""
        assert (await guest.get("/v1/desktops/mine/still")).status_code == 200
        assert (await guest.post("/v1/desktops/mine/tickets", json={"mode": "control"})).status_code == 403
        for _ in range(2):
            again = (await guest.post("/v1/desktops/mine/tickets", json={"mode": "view"})).json()["ticket"]
            async with c.websocket("/v1/desktops/mine/vnc", ticket=again) as socket:
                assert await socket.recv() == b"RFB 003.008\n"
        async with c.http() as http:
            await http.delete("/v1/desktops/mine")
        assert (await guest.get("/v1/desktops/mine")).status_code == 401
    assert desktop.screen.done == []
