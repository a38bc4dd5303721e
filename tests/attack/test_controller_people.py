"""Attacks on the way in, and on what has come in: guessing, fixing, racing, and guests that lie."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
import websockets

from oriel.model import wire
from tests.fakes.controller import Running, against, closed, refused
from tests.fakes.hostd import FakeDesktop

PASSWORD = "correct horse battery"


async def user(c: Running, name: str) -> None:
    async with c.http() as admin:
        assert (await admin.post("/v1/users", json={"name": name, "password": PASSWORD})).status_code == 201


async def sign_in(http: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return await http.post("/v1/session", json={"user": name, "password": password})


@against()
async def test_guessing_a_password_ends_after_a_few(c: Running) -> None:
    for name in ("ann", "bob"):
        await user(c, name)
    async with c.http("") as http:
        codes = [(await sign_in(http, "ann", f"guess number {n}")).status_code for n in range(8)]
        assert codes == [401] * 5 + [429] * 3
        late = await sign_in(http, "ann")
        assert (late.status_code, int(late.headers["retry-after"]) > 1) == (429, True), "the right one too"
        assert (await sign_in(http, "bob")).status_code == 200
    assert (await c.ask(c.token, "GET", "/v1/session")).status_code == 200


@against()
async def test_a_crowd_at_the_door_does_not_stop_the_rest(c: Running) -> None:
    """Each hash costs 64 MiB and some 50 ms: few at a time, a bounded queue, then come again later."""
    await user(c, "ann")
    c.parts.limits.check_failures = lambda *_: None  # type: ignore[method-assign]
    async with c.http("", limits=httpx.Limits(max_connections=30)) as http, c.http() as admin:
        crowd = [asyncio.create_task(sign_in(http, f"nobody-{n}", "a wrong guess")) for n in range(30)]
        await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        assert (await admin.get("/v1/desktops")).status_code == 200
        codes = {answer.status_code for answer in await asyncio.gather(*crowd)}
    assert codes == {401, 429}


@against()
async def test_a_session_that_somebody_planted_is_not_the_one_that_comes_in(c: Running) -> None:
    for name in ("ann", "eve"):
        await user(c, name)
    async with c.http("") as eve, c.http("") as ann:
        await sign_in(eve, "eve")
        planted = eve.cookies["oriel"]
        for cookie in (planted, "session_chosen-by-eve"):
            ann.cookies.clear()
            signed_in = await ann.post(
                "/v1/session",
                json={"user": "ann", "password": PASSWORD},
                headers={"Cookie": f"oriel={cookie}"},
            )
            assert signed_in.status_code == 200
            assert cookie not in signed_in.headers["set-cookie"]
        assert (await eve.get("/v1/session")).status_code == 401, "the planted one lives on"


@against()
async def test_a_session_is_no_token_and_a_token_no_session(c: Running) -> None:
    async with c.http("") as http:
        await http.post("/v1/session", json={"token": c.token})
        session = http.cookies["oriel"]
    assert (await c.ask(session, "GET", "/v1/session")).status_code == 401
    for cookie in (c.token, f"oriel_{session}", ""):
        async with c.http("", headers={"Cookie": f"oriel={cookie}"}) as http:
            assert (await http.get("/v1/session")).status_code == 401


@against()
async def test_taking_a_token_back_closes_what_it_has_open_within_a_second(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("annes", ann)
    async with (
        c.http() as admin,
        c.http(ann) as http,
        c.websocket("/v1/desktops/annes/vnc", token=ann, origin=None) as screen,
        c.websocket("/v1/desktops/annes/terminal", token=ann, origin=None),
        http.stream("GET", "/v1/events") as events,
    ):
        lines = events.aiter_lines()
        await anext(lines)
        listed = (await admin.get("/v1/tokens")).json()["items"]
        token = next(one["id"] for one in listed if one["user"] == "ann")
        began = time.monotonic()
        await admin.delete(f"/v1/tokens/{token}")
        assert (await closed(screen))[0] == 4401
        async for _ in lines:
            continue
        assert len(list(c.parts.live)) == 0
        # A second, on a machine that has nothing else to do; the point is that nothing is waited for.
        assert time.monotonic() - began < 10


@against()
async def test_a_right_that_runs_out_closes_what_it_opened(c: Running) -> None:
    await c.desktop("mine")
    async with c.http() as admin:
        made = await admin.post("/v1/tokens", json={"name": "short", "expires_in_s": 2})
    async with c.websocket("/v1/desktops/mine/vnc", token=made.json()["token"], origin=None) as screen:
        assert (await closed(screen))[0] == 4401


@against()
async def test_a_desktop_is_deleted_while_others_come_in(c: Running) -> None:
    for round_ in range(3):
        await c.desktop(f"gone-{round_}")
        path = f"/v1/desktops/gone-{round_}/vnc"
        async with c.http() as admin:
            coming = [asyncio.create_task(until_closed(c, path)) for _ in range(10)]
            await asyncio.sleep(0)
            gone = await admin.delete(f"/v1/desktops/gone-{round_}")
            assert gone.status_code == 204
            codes = await asyncio.gather(*coming)
        assert set(codes) <= {404, 409, 503, 4404, 4409, 4503, 1000}, codes
        assert len(list(c.parts.live)) == 0
    assert c.host.desktops == {}


async def until_closed(c: Running, path: str) -> int:
    try:
        async with c.websocket(path, token=c.token, origin=None) as socket:
            return (await closed(socket))[0]
    except websockets.InvalidStatus as error:
        return error.response.status_code


@against()
async def test_a_ticket_is_for_one_run_of_the_desktop(c: Running) -> None:
    await c.desktop("mine")
    ticket = await c.ticket("mine", ttl_s=200)
    async with c.sdk() as oriel:
        desktop = await oriel.desktop("mine")
        await desktop.stop()
        await desktop.start(deadline_s=10)
    assert (await refused(c.websocket("/v1/desktops/mine/vnc", ticket=ticket)))[0] == 401


@against(connections_per_user=3)
async def test_nobody_keeps_more_open_than_their_share(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("annes", ann)
    await c.desktop("admins")
    path = "/v1/desktops/annes/vnc"
    async with (
        c.websocket(path, token=ann, origin=None),
        c.websocket(path, token=ann, origin=None),
        c.websocket(path, ticket=await c.ticket("annes", token=ann)),
    ):
        code, document = await refused(c.websocket(path, token=ann, origin=None))
        assert (code, document["code"]) == (429, "busy")
        assert (await c.ask(ann, "GET", "/v1/events")).status_code == 429
        async with c.websocket("/v1/desktops/admins/vnc", token=c.token, origin=None) as other:
            assert await other.recv() == b"RFB 003.008\n"


BOMBS = [
    {"width": 1 << 20, "height": 1 << 20, "stride": 4 << 20, "format": "BGRX"},
    {"width": 16384, "height": 16384, "stride": 65536, "format": "BGRX"},
    {"width": 1, "height": -1, "stride": -4, "format": "BGRX"},
    {"width": 10, "height": 10, "stride": 1, "format": "BGRX"},
    {"width": "<b>", "height": None, "stride": [], "format": "BGRX"},
    {"width": 10, "height": 10, "stride": 40, "format": "PNG"},
    {},
]


@pytest.mark.parametrize("told", BOMBS, ids=range(len(BOMBS)))
@against()
async def test_a_screen_that_is_a_bomb(c: Running, told: dict[str, Any]) -> None:
    desktop = await c.desktop("mine")

    async def lie(call: wire.Call) -> None:
        await call.answer(told)
        call.writer.write(bytes(1 << 16))

    replace_verb(desktop, "screenshot", lie)
    async with c.http() as http:
        for path in ("computer/screenshot", "still"):
            answer = await http.get(f"/v1/desktops/mine/{path}")
            assert answer.status_code in (204, 502), (path, answer.text)


@against()
async def test_what_a_guest_says_stays_data(c: Running) -> None:
    """Titles, clipboards and file names are JSON or octets with a fixed type, and never a page."""
    hostile = "<script>alert(1)</script>\r\nX-Evil: 1\u202e"
    desktop = await c.desktop("mine")

    async def windows(_call: wire.Call) -> dict[str, Any]:
        return {"windows": [{"id": 1, "kind": "terminal", "title": hostile}]}

    replace_verb(desktop, "windows", windows)
    desktop.agent.copy(text=hostile.encode(), html=hostile.encode())
    desktop.agent.files[f"/{hostile}"] = b"<script>alert(2)</script>"
    async with c.http() as http:
        for path, params in (
            ("windows", {}), ("computer/clipboard", {}), ("files", {"path": "/", "list": "1"}),
            ("files", {"path": f"/{hostile}"}),
        ):  # fmt: skip
            answer = await http.get(f"/v1/desktops/mine/{path}", params=params)
            assert answer.status_code == 200, (path, answer.text)
            kind = answer.headers["content-type"]
            assert kind in ("application/json", "application/octet-stream"), path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "x-evil" not in answer.headers
        assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("verb", ["windows", "clipboard_read", "cursor"])
@against()
async def test_a_guest_that_answers_without_end(c: Running, verb: str) -> None:
    desktop = await c.desktop("mine")

    async def flood(call: wire.Call) -> None:
        call.answered = True
        call.writer.write(b'{"ok":true,"result":{"text":"')
        for _ in range(64):
            call.writer.write(b"x" * 65536)
            await call.writer.drain()

    replace_verb(desktop, verb, flood)
    path = {"windows": "windows", "clipboard_read": "computer/clipboard", "cursor": "computer/cursor"}[verb]
    answer = await c.ask(c.token, "GET", f"/v1/desktops/mine/{path}")
    assert (answer.status_code, answer.json()["code"]) == (502, "protocol")


def replace_verb(desktop: FakeDesktop, verb: str, handle: Any) -> None:
    setattr(desktop.agent, f"on_{verb}", handle)


SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


@against(trusted_proxies=("127.0.0.1",))
async def test_behind_a_tls_proxy_the_cookie_is_held_to_this_host(c: Running) -> None:
    async with c.http("", headers=SAID) as http:
        signed_in = await http.post("/v1/session", json={"token": c.token})
        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith("__Host-oriel=")
        assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/"))
        assert "Domain" not in cookie
    await until_told(c, "203.0.113.9")


@against()
async def test_nobody_else_is_believed_about_where_they_come_from(c: Running) -> None:
    async with c.http("", headers=SAID) as http:
        signed_in = await http.post("/v1/session", json={"token": c.token})
        assert signed_in.headers["set-cookie"].startswith("oriel=")
    await until_told(c, "127.0.0.1")


async def until_told(c: Running, address: str) -> None:
    """The audit trail, which is written beside the answer, has the sign-in from there."""
    async with c.http() as admin, asyncio.timeout(20):
        while not (found := (await admin.get("/v1/audit?action=sign_in")).json()["items"]):
            await asyncio.sleep(0.05)
    assert [entry["address"] for entry in found] == [address]
