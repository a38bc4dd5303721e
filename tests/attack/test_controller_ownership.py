"""Every route × every role, on somebody else's things: as if they were not there.

The routes come from the application's own description, so that a new one is tried without being told of.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from oriel.controller.app import build_app
from oriel.controller.picture import encode_png, from_bgrx
from tests.fakes.controller import Running, against

OPEN_TO_ALL = {
    "/healthz", "/readyz", "/metrics", "/v1/session", "/v1/session/ways", "/v1/session/oidc",
    "/v1/session/oidc/callback", "/v1/tickets/redeem",
}  # fmt: skip
# What each body must at least have, so that a refusal is one of rights, not of form.
BODIES: dict[str, Any] = {
    "tickets": {"mode": "view"}, "exec": {"argv": ["echo", "x"]}, "move": {"x": 1, "y": 1}, "click": {},
    "drag": {"x": 1, "y": 1, "to_x": 2, "to_y": 2}, "scroll": {"x": 1, "y": 1}, "type": {"text": "x"},
    "key": {"keys": "a"}, "clipboard": {"text": "x"}, "egress": {"deny": []},
}  # fmt: skip
PICTURE = encode_png(from_bgrx(bytes(16), 2, 2, 8))
ADMIN_ONLY = ("/v1/users", "/v1/audit")


def routes(c: Running) -> list[tuple[str, str]]:
    paths = build_app(c.parts).openapi()["paths"]
    return [(verb.upper(), path) for path, verbs in sorted(paths.items()) for verb in sorted(verbs)]


async def knock(http: httpx.AsyncClient, verb: str, path: str, ref: str) -> httpx.Response:
    url = re.sub(r"\{[a-z_]+\}", ref, path)
    params = {"path": "/home/user/x"} if url.endswith("/files") else {}
    if verb in ("GET", "DELETE"):
        if url.endswith("/events"):
            async with http.stream(verb, url) as response:
                if response.status_code >= 400:
                    await response.aread()
                return response
        return await http.request(verb, url, params=params)
    if url.endswith("/clipboard/image"):
        return await http.request(verb, url, content=PICTURE)
    body = BODIES.get(url.rpartition("/")[2], {})
    return await http.request(verb, url, params=params, json=body)


@against()
async def test_a_stranger_s_desktop_does_not_exist(c: Running) -> None:
    ann, bob, eve = await c.person("ann"), await c.person("bob"), await c.person("eve", "viewer")
    desktop = await c.desktop("annes", ann)
    tried = 0
    for name, token in (("bob", bob), ("eve", eve)):
        async with c.http(token) as http:
            for verb, path in routes(c):
                if not path.startswith("/v1/desktops/{ref}"):
                    continue
                for ref in ("annes", desktop.spec.id):
                    answer = await knock(http, verb, path, ref)
                    missing = await knock(http, verb, path, "no-such-desktop")
                    assert answer.status_code == 404, (name, verb, path, answer.text)
                    same = {**answer.json(), "instance": ""}
                    assert same == {**missing.json(), "instance": ""}, "the answer tells that it is there"
                    tried += 1
            assert (await http.get("/v1/desktops")).json()["items"] == []
            assert "annes" not in (await http.get("/v1/images")).text
    assert tried > 80
    assert desktop.agent.asked == []
    assert (await c.state("annes"))["state"] == "running"


@against()
async def test_without_a_token_nothing_opens(c: Running) -> None:
    desktop = await c.desktop("mine")
    for token in ("", "oriel_wrong", "grant_wrong"):
        async with c.http(token, headers={"Cookie": "oriel=session_wrong"}) as http:
            for verb, path in routes(c):
                if path in OPEN_TO_ALL and not (verb == "GET" and path == "/v1/session"):
                    continue
                answer = await knock(http, verb, path, "mine")
                # 403: with a cookie and no word of where it comes from, nobody is even looked up.
                expected = {401} if token or verb == "GET" else {403}
                assert answer.status_code in expected, (verb, path, answer.text)
                c.parts.limits._buckets.clear()
    assert desktop.agent.asked == []


@against()
async def test_a_viewer_s_account_changes_nothing(c: Running) -> None:
    eve = await c.person("eve", "viewer")
    desktop = await c.desktop("hers")
    async with c.http() as admin:
        await admin.patch("/v1/desktops/hers", json={"owner": "eve"})
    before = await c.state("hers")
    async with c.http(eve) as http:
        for verb, path in routes(c):
            if path in OPEN_TO_ALL or not path.startswith("/v1/"):
                continue
            if path in ("/v1/tokens", "/v1/tokens/{token_id}", "/v1/session/password"):
                continue  # their own
            answer = await knock(http, verb, path, "hers")
            looks = verb == "GET" or path.endswith("/tickets")
            if not looks:
                assert answer.status_code == 403, (verb, path, answer.text)
        assert (await http.get("/v1/desktops/hers/computer/screenshot")).status_code == 200
        for path in ("files?path=/etc/passwd", "computer/clipboard", "logs"):
            assert (await http.get(f"/v1/desktops/hers/{path}")).status_code == 403, path
        assert (await http.post("/v1/desktops/hers/tickets", json={"mode": "control"})).status_code == 403
    assert await c.state("hers") == before
    assert {verb for verb, _ in desktop.agent.asked} <= {"screenshot", "cursor", "windows", "units"}


@against()
async def test_only_administrators_see_people(c: Running) -> None:
    ann = await c.person("ann")
    async with c.http(ann) as http:
        for verb, path in routes(c):
            if path.startswith(ADMIN_ONLY) or (path.startswith("/v1/images") and verb in ("POST", "DELETE")):
                answer = await knock(http, verb, path, "admin")
                assert answer.status_code == 403, (verb, path, answer.text)


@against()
async def test_nobody_makes_themselves_more(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    async with c.http(ann) as http, c.http(bob) as other:
        assert (await http.patch("/v1/users/ann", json={"role": "admin"})).status_code == 403
        assert (await http.post("/v1/users", json={"name": "x", "role": "admin"})).status_code == 403
        for wish in ({"user": "admin", "name": "x"}, {"user": "bob", "name": "x"}):
            assert (await http.post("/v1/tokens", json=wish)).status_code == 403
        assert (await http.post("/v1/tokens", json={"name": "x", "scopes": ["admin"]})).status_code in (
            403,
            422,
        )
        narrow = (await http.post("/v1/tokens", json={"name": "x", "scopes": ["read"]})).json()["token"]
        async with c.http(narrow) as little:
            wider = await little.post("/v1/tokens", json={"name": "y", "scopes": ["control"]})
            assert wider.status_code == 403
            assert (await little.post("/v1/tokens", json={"name": "z"})).json()["scopes"] == ["read"]
        mine = (await other.get("/v1/tokens")).json()["items"][0]["id"]
        assert (await http.delete(f"/v1/tokens/{mine}")).status_code == 404
        assert (await other.get("/v1/desktops")).status_code == 200
        await c.desktop("annes", ann)
        assert (await http.patch("/v1/desktops/annes", json={"owner": "bob"})).status_code == 403


@against()
async def test_a_stranger_s_proxy_is_of_no_use(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    async with c.http(ann) as http, c.http(bob) as other:
        made = await http.post("/v1/proxies", json={"name": "annes", "url": "http://u:p@203.0.113.5:1"})
        assert made.status_code == 201
        for ref in ("annes", made.json()["id"]):
            for verb, suffix in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/check")):
                answer = await other.request(verb, f"/v1/proxies/{ref}{suffix}", json={})
                assert answer.status_code == 404, (verb, suffix)
            assert (await other.post("/v1/desktops", json={"proxy": ref})).status_code == 422
        await c.desktop("bobs", bob)
        assert (await other.patch("/v1/desktops/bobs/egress", json={"proxy": "annes"})).status_code == 422
        assert (await other.get("/v1/proxies")).json()["items"] == []


@against()
async def test_a_guest_has_one_desktop_and_little_of_it(c: Running) -> None:
    desktop = await c.desktop("shared")
    await c.desktop("other")
    async with c.http("") as nobody:
        ticket = await c.ticket("shared", "control", ttl_s=600)
        grant = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]
    allowed = {("GET", ""), ("GET", "/still"), ("GET", "/events"), ("POST", "/tickets")}
    # Whoever drives copies and pastes.
    allowed |= {(verb, f"/computer/clipboard{kind}") for verb in ("GET", "PUT") for kind in ("", "/image")}
    async with c.http(grant) as guest:
        for verb, path in routes(c):
            if path in OPEN_TO_ALL and path != "/v1/session":
                continue
            if path == "/v1/session" and verb != "GET":
                continue
            desktop.agent.copy(image=PICTURE)
            mine = await knock(guest, verb, path, "shared")
            if path.startswith("/v1/desktops/{ref}"):
                suffix = path.removeprefix("/v1/desktops/{ref}")
                assert (mine.status_code < 400) == ((verb, suffix) in allowed), (verb, path, mine.text)
                assert (await knock(guest, verb, path, "other")).status_code == 404, (verb, path)
            else:
                assert mine.status_code == 403, (verb, path, mine.text)
        assert (await guest.get("/v1/desktops/shared")).json()["owner"] == ""
    assert {verb for verb, _ in desktop.agent.asked} <= {"screenshot", "clipboard_read", "clipboard_write"}


@pytest.mark.parametrize("mode", ["view", "control"])
@against()
async def test_a_grant_ends_with_the_token_behind_it(c: Running, mode: str) -> None:
    ann = await c.person("ann")
    await c.desktop("annes", ann)
    ticket = await c.ticket("annes", mode, token=ann, ttl_s=600)
    async with c.http("") as nobody, c.http() as admin:
        grant = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]
        async with c.http(grant) as guest:
            assert (await guest.get("/v1/desktops/annes")).status_code == 200
            tokens = (await admin.get("/v1/tokens")).json()["items"]
            await admin.delete(f"/v1/tokens/{next(t['id'] for t in tokens if t['user'] == 'ann')}")
            assert (await guest.get("/v1/desktops/annes")).status_code == 401
