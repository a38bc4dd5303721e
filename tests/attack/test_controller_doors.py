"""Every WebSocket, tried by those who should not get in: other sites' pages, and tickets that are not theirs.

The routes are found in the application, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import asyncio

import pytest
import websockets
from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute

from oriel.controller.api import screen, session_socket, streams
from oriel.controller.app import build_app
from tests.fakes.controller import Running, against, closed, refused

DOORS = [route for module in (screen, session_socket, streams) for route in module.router.routes]
KINDS = sorted(route.path.rpartition("/")[2] for route in DOORS)
OPEN = 101


def websocket_routes(app: FastAPI) -> set[str]:
    found: set[str] = set()
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, APIWebSocketRoute):
            found.add(route.path)
        waiting += getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", []
        )
    return found


async def status(connecting: websockets.asyncio.client.connect) -> int:
    try:
        async with connecting:
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


@against()
async def test_every_websocket_goes_through_the_door(c: Running) -> None:
    found = {path.rpartition("/")[2] for path in websocket_routes(build_app(c.parts))}
    assert found == set(KINDS)
    for route in DOORS:
        assert isinstance(route, APIWebSocketRoute)
        assert route.endpoint.__qualname__.startswith("add_door."), route.path


@pytest.mark.parametrize("kind", KINDS)
@against()
async def test_other_sites_do_not_get_in(c: Running, kind: str) -> None:
    await c.desktop("mine")
    path, port = f"/v1/desktops/mine/{kind}", c.url.rpartition(":")[2]
    for origin in ("https://evil.example", "null", "", f"http://evil.example:{port}", "http://127.0.0.1:1",
                   f"{c.url}.evil.example", f"http://127.0.0.1:{port}@evil.example",
                   f"file://127.0.0.1:{port}"):  # fmt: skip
        code, document = await refused(c.websocket(path, ticket=await c.ticket("mine"), origin=origin))
        assert (code, document["code"]) == (403, "foreign_origin"), origin
        code, document = await refused(c.websocket(path, token=c.token, origin=origin))
        assert (code, document["code"]) == (403, "foreign_origin"), origin
    # A browser always says where it is from: without that word a ticket is not enough.
    code, _ = await refused(c.websocket(path, ticket=await c.ticket("mine"), origin=None))
    assert code == 403
    assert await status(c.websocket(path, ticket=await c.ticket("mine"))) == OPEN
    assert await status(c.websocket(path, token=c.token, origin=None)) == OPEN


@against(allowed_origins=("https://portal.example",))
async def test_an_allowed_site_gets_in(c: Running) -> None:
    await c.desktop("mine")
    for origin, expected in (("https://portal.example", 101), ("http://portal.example", 403)):
        connecting = c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine"), origin=origin)
        assert await status(connecting) == expected


@pytest.mark.parametrize("kind", KINDS)
@against()
async def test_nobody_gets_in_without_a_right(c: Running, kind: str) -> None:
    await c.desktop("mine")
    path = f"/v1/desktops/mine/{kind}"
    async with c.http() as http:
        session = (await http.post("/v1/session", json={"token": c.token})).cookies["oriel"]
    for connecting in (
        c.websocket(path),
        c.websocket(path, origin=None),
        c.websocket(path, ticket="x" * 43),
        c.websocket(path, token="oriel_" + "x" * 43, origin=None),
        c.websocket(path, token=session, origin=None),
        c.websocket(path, protocols=("binary", f"ticket.{c.token}")),
        c.websocket(f"{path}?token={c.token}&ticket={await c.ticket('mine')}"),
    ):
        assert (await refused(connecting))[0] in (401, 403)


@against()
async def test_the_page_s_cookie_opens_no_stream(c: Running) -> None:
    """Else any page that a browser carries the cookie to could."""
    await c.desktop("mine")
    async with c.http("") as http:
        await http.post("/v1/session", json={"token": c.token})
        cookie = f"oriel={http.cookies['oriel']}"
    connecting = websockets.connect(
        f"ws{c.url.removeprefix('http')}/v1/desktops/mine/vnc", origin=websockets.Origin(c.url),
        additional_headers={"Cookie": cookie}, proxy=None,
    )  # fmt: skip
    assert (await refused(connecting))[0] == 401


@pytest.mark.parametrize("kind", KINDS)
@against()
async def test_a_ticket_is_spent_by_its_first_use_even_a_refused_one(c: Running, kind: str) -> None:
    await c.desktop("mine")
    path = f"/v1/desktops/mine/{kind}"
    ticket = await c.ticket("mine")
    assert await status(c.websocket(path, ticket=ticket)) == OPEN
    assert (await refused(c.websocket(path, ticket=ticket)))[0] == 401


@against()
async def test_many_at_once_with_one_ticket_are_one(c: Running) -> None:
    await c.desktop("mine")
    ticket = await c.ticket("mine")
    tries = [status(c.websocket("/v1/desktops/mine/vnc", ticket=ticket)) for _ in range(12)]
    assert sorted(await asyncio.gather(*tries)) == [101] + [401] * 11


@against()
async def test_a_ticket_is_for_one_desktop(c: Running) -> None:
    await c.desktop("mine")
    await c.desktop("other")
    for kind in KINDS:
        code, _ = await refused(c.websocket(f"/v1/desktops/other/{kind}", ticket=await c.ticket("mine")))
        assert code == 404


@against()
async def test_a_ticket_ends(c: Running) -> None:
    await c.desktop("mine")
    ticket = await c.ticket("mine", ttl_s=1)
    await asyncio.sleep(1.1)
    assert (await refused(c.websocket("/v1/desktops/mine/vnc", ticket=ticket)))[0] == 401


@against()
async def test_a_right_to_look_opens_only_the_screen(c: Running) -> None:
    desktop = await c.desktop("mine")
    for kind in sorted(set(KINDS) - {"vnc", "webrtc"}):
        code, _ = await refused(
            c.websocket(f"/v1/desktops/mine/{kind}", ticket=await c.ticket("mine", "view"))
        )
        assert code == 403, kind
    async with c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine", "view")) as socket:
        await socket.send(b"RFB 003.008\n\x01\x01")
        await socket.send(b"\x07\x00\x00")
        assert await closed(socket) == (4403, "view_only")
    assert desktop.screen.done == []


@against()
async def test_a_new_owner_s_desktop_shows_the_old_one_nothing(c: Running) -> None:
    ann = await c.person("ann")
    await c.person("bob")
    await c.desktop("mine", ann)
    waiting = await c.ticket("mine", token=ann)
    async with (
        c.websocket("/v1/desktops/mine/vnc", ticket=await c.ticket("mine", token=ann)) as socket,
        c.http() as admin,
    ):
        assert (await admin.patch("/v1/desktops/mine", json={"owner": "bob"})).json()["owner"] == "bob"
        assert (await closed(socket))[0] == 4404
    assert (await refused(c.websocket("/v1/desktops/mine/vnc", ticket=waiting)))[0] in (401, 404)


@against()
async def test_guessing_tickets_is_slowed_down(c: Running) -> None:
    c.hold_time()
    await c.desktop("mine")
    codes = [(await refused(c.websocket("/v1/desktops/mine/vnc", ticket=f"{n:043}")))[0] for n in range(40)]
    assert codes[0] == 401
    assert 429 in codes


@against()
async def test_tickets_are_in_no_log(c: Running, capfd: pytest.CaptureFixture[str]) -> None:
    await c.desktop("mine")
    used, wrong = await c.ticket("mine"), "canary-canary-canary-canary-canary-canary-x"
    async with c.websocket("/v1/desktops/mine/vnc", ticket=used, protocols=("binary",)) as socket:
        await socket.recv()
    await refused(c.websocket("/v1/desktops/mine/vnc", ticket=wrong))
    trail = ""
    async with c.http() as http, asyncio.timeout(30):
        while "open_vnc" not in trail:  # it is written beside the answer, not before it
            trail = (await http.get("/v1/audit")).text
    said = "".join(capfd.readouterr())
    for secret in (used, wrong, c.token):
        assert secret not in said
        assert secret not in trail
