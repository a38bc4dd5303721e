"""People: passwords, sessions, what is shared with whom, how much each may have."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import websockets
from sqlalchemy.exc import IntegrityError

from oriel.client import AsyncOriel
from oriel.client.aio.desktop import events_of
from oriel.model.events import Event
from tests.fakes.controller import Running, against, closed, refused

PASSWORD = "correct horse battery"
OTHER = "staple gun and paper"


async def with_password(c: Running, name: str, role: str = "user") -> None:
    async with c.http() as admin:
        made = await admin.post("/v1/users", json={"name": name, "role": role, "password": PASSWORD})
        assert made.status_code == 201, made.text
        assert made.json()["has_password"]
        assert PASSWORD not in made.text


async def sign_in(http: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return await http.post("/v1/session", json={"user": name, "password": password})


@against()
async def test_signing_in_by_password(c: Running) -> None:
    await with_password(c, "ann")
    async with c.http("", headers={"Origin": c.url}) as http:
        answer = await sign_in(http, "ann")
        assert (answer.status_code, answer.json()["user"]) == (200, "ann")
        assert answer.json()["permissions"] == ["control", "read"]
        assert (await http.post("/v1/desktops", json={"name": "mine"})).status_code == 201
        assert (await http.delete("/v1/session")).status_code == 204
        assert (await http.get("/v1/session")).status_code == 401


@against()
async def test_whoever_has_no_password_gets_in_by_none(c: Running) -> None:
    await with_password(c, "ann")
    await c.person("bob")
    said = set()
    async with c.http("") as http:
        for name, password in (
            ("ann", PASSWORD + "x"), ("ann", PASSWORD[:-1]), ("bob", PASSWORD),
            ("bob", "a password of nobody"),
            ("nobody", PASSWORD), ("ann\x00", PASSWORD), ("", PASSWORD), ("Ann", PASSWORD),
        ):  # fmt: skip
            answer = await sign_in(http, name, password)
            assert answer.status_code == 401, name
            assert "set-cookie" not in answer.headers
            said.add(answer.json()["detail"])
        assert len(said) == 1, "the answers tell whose name exists"
        for body in ({}, {"user": "ann"}, {"token": "x", "user": "ann", "password": "y"}, {"password": "y"}):
            assert (await http.post("/v1/session", json=body)).status_code == 422, body


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "annann123456!", "x" * 300])
@against()
async def test_passwords_that_are_none(c: Running, password: str) -> None:
    async with c.http() as admin:
        answer = await admin.post("/v1/users", json={"name": "ann", "password": password})
        assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, "password")
        assert password not in answer.text
        assert (await admin.get("/v1/users/ann")).status_code == 404


@against()
async def test_the_same_password_however_it_is_typed(c: Running) -> None:
    async with c.http() as admin, c.http("") as http:
        await admin.post("/v1/users", json={"name": "ann", "password": "zwo\u0308lf Bücher im Regal"})
        assert (await sign_in(http, "ann", "zw\u00f6lf Bu\u0308cher im Regal")).status_code == 200


@against()
async def test_a_new_password_signs_everyone_out(c: Running) -> None:
    await with_password(c, "ann")
    async with c.http("", headers={"Origin": c.url}) as here, c.http("") as there, c.http() as admin:
        await sign_in(here, "ann")
        await sign_in(there, "ann")
        await here.post("/v1/desktops", json={"name": "mine"})
        await c.until("mine", "running")
        link = (await here.post("/v1/desktops/mine/tickets", json={"ttl_s": 3600})).json()["ticket"]
        grant = (await c.ask("", "POST", "/v1/tickets/redeem", json={"ticket": link})).json()["grant"]
        token = (await here.post("/v1/tokens", json={"name": "a program"})).json()["token"]
        ticket = (await here.post("/v1/desktops/mine/tickets", json={})).json()["ticket"]
        async with c.websocket("/v1/desktops/mine/vnc", ticket=ticket) as socket:
            wrong = await here.put("/v1/session/password", json={"current": OTHER, "password": OTHER})
            assert (wrong.status_code, wrong.json()["faults"][0]["field"]) == (422, "current")
            changed = await here.put("/v1/session/password", json={"current": PASSWORD, "password": OTHER})
            assert changed.status_code == 204
            assert (await closed(socket))[0] == 4401
        # The page that changed it has a new session; nobody else has.
        assert (await here.get("/v1/session")).status_code == 200
        assert (await there.get("/v1/session")).status_code == 401
        assert (await c.ask(grant, "GET", "/v1/desktops/mine")).status_code == 401
        assert (await c.ask(token, "GET", "/v1/session")).status_code == 200
        assert (await sign_in(here, "ann")).status_code == 401
        assert (await sign_in(here, "ann", OTHER)).status_code == 200
        assert (await admin.delete("/v1/users/ann/password")).status_code == 204
        assert (await here.get("/v1/session")).status_code == 401
        assert (await sign_in(here, "ann", OTHER)).status_code == 401
        assert (await admin.put("/v1/users/ann/password", json={"password": PASSWORD})).status_code == 204
        assert (await sign_in(here, "ann")).status_code == 200


@against()
async def test_signing_out_closes_what_the_session_has_open(c: Running) -> None:
    await with_password(c, "ann")
    async with c.http("", headers={"Origin": c.url}) as here, c.http("", headers={"Origin": c.url}) as there:
        for http in (here, there):
            await sign_in(http, "ann")
        await here.post("/v1/desktops", json={"name": "mine"})
        await c.until("mine", "running")

        async def screen(http: httpx.AsyncClient) -> websockets.connect:
            ticket = (await http.post("/v1/desktops/mine/tickets", json={})).json()["ticket"]
            return c.websocket("/v1/desktops/mine/vnc", ticket=ticket)

        async with await screen(here) as mine, await screen(there) as other:
            waiting = (await here.post("/v1/desktops/mine/tickets", json={})).json()["ticket"]
            assert (await here.delete("/v1/session")).status_code == 204
            assert (await closed(mine))[0] == 4401
            assert (await refused(c.websocket("/v1/desktops/mine/vnc", ticket=waiting)))[0] == 401
            assert await other.recv() == b"RFB 003.008\n"
            await sign_in(here, "ann")
            assert (await here.delete("/v1/session?everywhere=true")).status_code == 204
            assert (await closed(other))[0] == 4401
        assert (await there.get("/v1/session")).status_code == 401


@against(session_ttl_s=300)
async def test_sessions_outlive_the_controller_and_links_too(c: Running) -> None:
    await with_password(c, "ann")
    async with c.http("") as http:
        await sign_in(http, "ann")
        cookie = http.cookies["oriel"]
    desktop = await c.desktop("mine")
    ticket, late = [await c.ticket("mine", "view", ttl_s=3600) for _ in range(2)]
    async with c.http("") as nobody:
        grant = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]
    await c.stop()
    await c.start()
    async with c.http("", headers={"Cookie": f"oriel={cookie}"}) as http:
        assert (await http.get("/v1/session")).json()["user"] == "ann"
    async with c.http(grant) as guest, c.http("") as nobody:
        again = (await guest.post("/v1/desktops/mine/tickets", json={"mode": "view"})).json()["ticket"]
        async with c.websocket("/v1/desktops/mine/vnc", ticket=again) as socket:
            assert await socket.recv() == b"RFB 003.008\n"
        assert (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).status_code == 401
        assert (await nobody.post("/v1/tickets/redeem", json={"ticket": late})).status_code == 200
    assert desktop.alive


@against()
async def test_a_shared_desktop_is_seen_and_driven_as_far_as_it_is_shared(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    desktop = await c.desktop("annes", ann)
    await c.desktop("other", ann)
    async with c.http(ann) as owner, c.http(bob) as friend:
        assert (await friend.get("/v1/desktops/annes")).status_code == 404
        shared = await owner.post("/v1/desktops/annes/shares", json={"user": "bob", "mode": "view"})
        assert shared.status_code == 201, shared.text
        seen = (await friend.get("/v1/desktops")).json()["items"]
        assert [(item["name"], item["owner"], item["access"]) for item in seen] == [("annes", "ann", "view")]
        assert (seen[0]["session_id"], seen[0]["proxy"]) == ("", None)
        assert (await friend.get("/v1/desktops/annes/computer/screenshot")).status_code == 200
        ticket = (await friend.post("/v1/desktops/annes/tickets", json={"mode": "view"})).json()["ticket"]
        assert (await c.ask("", "POST", "/v1/tickets/redeem", json={"ticket": ticket})).status_code == 403
        for verb, path, body in (
            ("POST", "/tickets", {"mode": "control"}), ("POST", "/exec", {"argv": ["id"]}),
            ("DELETE", "", None),
            ("PATCH", "", {"name": "bobs"}), ("POST", "/stop", None), ("GET", "/files?path=/x", None),
            ("POST", "/shares", {"user": "bob", "mode": "control"}), ("GET", "/shares", None),
            ("GET", "/egress", None), ("GET", "/logs", None),
        ):  # fmt: skip
            answer = await friend.request(verb, f"/v1/desktops/annes{path}", json=body)
            assert answer.status_code == 403, (verb, path, answer.text)
        await owner.post("/v1/desktops/annes/shares", json={"user": "bob", "mode": "control"})
        assert (
            await friend.post("/v1/desktops/annes/exec", json={"argv": ["echo", "hi"]})
        ).status_code == 200
        assert (await friend.post("/v1/desktops/annes/computer/type", json={"text": "x"})).status_code == 204
        for verb, path in (("DELETE", ""), ("POST", "/stop"), ("GET", "/shares"), ("PATCH", "/egress")):
            answer = await friend.request(verb, f"/v1/desktops/annes{path}", json={})
            assert answer.status_code == 403, (verb, path)
        listed = (await owner.get("/v1/desktops/annes/shares")).json()["items"]
        assert [(share["kind"], share["user"], share["mode"]) for share in listed] == [
            ("user", "bob", "control")
        ]
        async with c.websocket("/v1/desktops/annes/vnc", token=bob, origin=None) as socket:
            assert await socket.recv() == b"RFB 003.008\n"
            gone = await owner.delete(f"/v1/desktops/annes/shares/{listed[0]['id']}")
            assert gone.status_code == 204
            assert (await closed(socket))[0] == 4401
        assert (await friend.get("/v1/desktops/annes")).status_code == 404
        assert (await friend.get("/v1/desktops/other")).status_code == 404
    assert desktop.state == "running"


@against()
async def test_a_share_that_ends_closes_what_it_opened(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    await c.desktop("annes", ann)
    async with c.http(ann) as owner, c.http(bob) as friend:
        await owner.post("/v1/desktops/annes/shares", json={"user": "bob", "expires_in_s": 2})
        async with c.websocket("/v1/desktops/annes/vnc", token=bob, origin=None) as socket:
            assert (await closed(socket))[0] == 4401
        assert (await friend.get("/v1/desktops/annes")).status_code == 404
        assert (await friend.get("/v1/desktops")).json()["items"] == []


@against()
async def test_what_is_shared_tells_its_states_and_nothing_of_its_insides(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    await c.desktop("annes", ann)
    async with c.http(ann) as owner, c.sdk(bob) as friend:
        # A stream ends when more can be seen than at its beginning: whoever reads it comes again.
        for change in ("/v1/desktops/annes/shares", ""):
            opened = asyncio.Event()
            reading = asyncio.create_task(_read(friend, opened))
            await opened.wait()
            if change:
                await owner.post(change, json={"user": "bob"})
            else:
                await owner.patch("/v1/desktops/annes/egress", json={"deny": ["secret.example"]})
                await owner.delete("/v1/desktops/annes")
            async with asyncio.timeout(20):
                seen = await reading
    assert [event.kind for event in seen if event.kind.startswith("state.")] == ["state.deleting"]
    assert seen[-1].kind == "desktop.gone"
    assert not [event for event in seen if event.kind.startswith("egress.")]
    assert all(event.message == "" for event in seen)


async def _read(friend: AsyncOriel, opened: asyncio.Event) -> list[Event]:
    """Until the stream ends, or tells that a desktop is gone."""
    seen: list[Event] = []
    stream = events_of(friend._transport, "/v1/events", after=None, timeout_s=30)
    async with aclosing(stream) as events:
        async for event in events:
            opened.set()
            if event is not None:
                seen.append(event)
            if event is not None and event.kind == "desktop.gone":
                break
    return seen


@against()
async def test_who_cannot_be_shared_with(c: Running) -> None:
    ann = await c.person("ann")
    await c.person("eve", "viewer")
    await c.desktop("annes", ann)
    async with c.http(ann) as owner:
        for wish, field in (
            ({"user": "nobody"}, "user"), ({"user": "ann"}, "user"),
            ({"user": "eve", "mode": "control"}, "mode"),
            ({"user": "eve", "mode": "own"}, "mode"), ({"user": "eve", "expires_in_s": 0}, "expires_in_s"),
        ):  # fmt: skip
            answer = await owner.post("/v1/desktops/annes/shares", json=wish)
            assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, field)
        assert (await owner.delete("/v1/desktops/annes/shares/s-nothing")).status_code == 404
        assert (await owner.delete("/v1/desktops/annes/shares/l-nothing")).status_code == 404


@against()
async def test_a_link_is_listed_and_can_be_ended(c: Running) -> None:
    await c.desktop("mine")
    ticket = await c.ticket("mine", "control", ttl_s=3600)
    async with c.http() as owner, c.http("") as nobody:
        listed = (await owner.get("/v1/desktops/mine/shares")).json()["items"]
        assert [(link["kind"], link["mode"], link["opened_at"]) for link in listed] == [
            ("link", "control", None)
        ]
        assert ticket not in str(listed)
        grant = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]
        async with c.http(grant) as guest:
            short = (await guest.post("/v1/desktops/mine/tickets", json={})).json()["ticket"]
            # A guest cannot pass it on, and so not outlive it.
            assert (await nobody.post("/v1/tickets/redeem", json={"ticket": short})).status_code == 403
            short = (await guest.post("/v1/desktops/mine/tickets", json={})).json()["ticket"]
            async with c.websocket("/v1/desktops/mine/vnc", ticket=short) as socket:
                assert (await owner.delete(f"/v1/desktops/mine/shares/{listed[0]['id']}")).status_code == 204
                assert (await closed(socket))[0] == 4401
            assert (await guest.get("/v1/desktops/mine")).status_code == 401
        assert (await owner.get("/v1/desktops/mine/shares")).json()["items"] == []


@against()
async def test_a_link_ends_when_its_giver_loses_the_desktop_or_the_right(c: Running) -> None:
    ann = await c.person("ann")
    await c.person("bob")
    for name in ("one", "two"):
        await c.desktop(name, ann)
    grants = {}
    async with c.http("") as nobody, c.http() as admin:
        for name in ("one", "two"):
            ticket = await c.ticket(name, "control", token=ann, ttl_s=3600)
            grants[name] = (await nobody.post("/v1/tickets/redeem", json={"ticket": ticket})).json()["grant"]
        await admin.patch("/v1/desktops/one", json={"owner": "bob"})
        assert (await c.ask(grants["one"], "GET", "/v1/desktops/one")).status_code in (401, 404)
        assert (await c.ask(grants["two"], "GET", "/v1/desktops/two")).status_code == 200
        await admin.patch("/v1/users/ann", json={"role": "viewer"})
        assert (await c.ask(grants["two"], "GET", "/v1/desktops/two")).status_code == 401


@against(quota_desktops=2, quota_proxies=1, quota_vcpus=3)
async def test_nobody_takes_more_than_their_quota(c: Running) -> None:
    ann = await c.person("ann")
    await c.person("bob")
    async with c.http(ann) as http, c.http() as admin:
        answers = await asyncio.gather(
            *(http.post("/v1/desktops", json={"name": f"n{n}", "vcpus": 1}) for n in range(6))
        )
        assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
        refusal = next(answer.json() for answer in answers if answer.status_code == 409)
        assert (refusal["code"], refusal["faults"][0]["field"]) == ("quota_exceeded", "desktops")
        assert "2 of 2" in refusal["detail"]
        told = (await http.get("/v1/session")).json()["quota"]
        assert (told["limits"]["desktops"], told["usage"]["desktops"], told["usage"]["vcpus"]) == (2, 2, 2)
        both = await http.post("/v1/desktops", json={"vcpus": 2})
        assert [fault["field"] for fault in both.json()["faults"]] == ["desktops", "vcpus"]
        for name, status in (("p1", 201), ("p2", 409)):
            answer = await http.post("/v1/proxies", json={"name": name, "url": "http://203.0.113.5:1"})
            assert answer.status_code == status, answer.text
        # Whoever's own quota is larger may have more; what is left out follows the settings.
        await admin.patch("/v1/users/ann", json={"quota": {"desktops": 3}})
        assert (await http.post("/v1/desktops", json={"vcpus": 1})).status_code == 201
        shown = (await admin.get("/v1/users/ann")).json()
        assert (shown["quota"]["desktops"], shown["limits"]["vcpus"]) == (3, 3)
        # An administrator has no limit, but gives nobody more than theirs.
        for n in range(3):
            assert (await admin.post("/v1/desktops", json={"name": f"a{n}", "vcpus": 1})).status_code == 201
        statuses = [
            (await admin.patch(f"/v1/desktops/a{n}", json={"owner": "bob"})).status_code for n in range(3)
        ]
        assert statuses == [200, 200, 409]


async def oriel(c: Running, *words: str, stdin: str = "", token: str = "") -> tuple[int, Any, str]:
    """The command line: its exit status, its JSON, what it told people."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "oriel.cli.main", *words, "--json",
        env={"PATH": os.environ["PATH"], "ORIEL_URL": c.url, "ORIEL_TOKEN": token or c.token},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, told = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, json.loads(said) if said else None, told.decode()


@against()
async def test_people_and_shares_from_the_command_line(c: Running) -> None:
    ann = await c.person("ann")
    await c.person("bob")
    await c.desktop("annes", ann)
    assert (await oriel(c, "user", "password", "ann", stdin=f"{PASSWORD}\n"))[0] == 0
    async with c.http("") as http:
        assert (await sign_in(http, "ann")).status_code == 200
    status, _, told = await oriel(c, "user", "password", "ann", stdin="short\n")
    assert (status, "12 to 256" in told, "short" in told) == (1, True, False)
    status, changed, _ = await oriel(c, "user", "change", "ann", "--quota", "desktops=1")
    assert (status, changed["quota"]) == (0, {"desktops": 1})
    status, _, told = await oriel(c, "create", "more", "--no-wait", token=ann)
    assert (status, "1 of 1 desktops" in told) == (4, True)
    status, share, _ = await oriel(c, "share", "add", "annes", "bob", "--mode", "control", token=ann)
    assert (status, share["mode"]) == (0, "control")
    _, listed, _ = await oriel(c, "share", "list", "annes", token=ann)
    assert [item["user"] for item in listed["items"]] == ["bob"]
    assert (await oriel(c, "share", "end", "annes", share["id"], token=ann))[0] == 0
    _, trail, _ = await oriel(c, "audit", "--actor", "ann", "--action", "add_share")
    assert [entry["outcome"] for entry in trail["items"]] == ["201"]
    assert (await oriel(c, "user", "list"))[1]["items"][0].keys() >= {"name", "role", "has_password"}


@against()
async def test_the_audit_trail_is_kept_searched_and_exported(c: Running) -> None:
    await with_password(c, "ann")
    async with c.http("", headers={"Origin": c.url}) as http:
        await sign_in(http, "ann", OTHER)
        await sign_in(http, "no-such-user-but-a-password", OTHER)
        await sign_in(http, "ann")
        await http.post("/v1/desktops", json={"name": "mine"})
    await c.until("mine", "running")
    async with c.http() as admin:
        async with asyncio.timeout(10):  # it is written beside the answers
            while len((await admin.get("/v1/audit?action=sign_in")).json()["items"]) < 3:
                await asyncio.sleep(0.05)
        found = (await admin.get("/v1/audit?action=sign_in")).json()["items"]
        assert [(one["actor"], one["target"], one["outcome"]) for one in found] == [
            ("ann", "ann", "200"), ("", "", "401"), ("", "ann", "401"),
        ]  # fmt: skip
        assert {one["address"] for one in found} == {"127.0.0.1"}
        export = await admin.get("/v1/audit/export", params={"actor": "ann"})
        lines = [json.loads(line) for line in export.text.splitlines()]
        assert [line["action"] for line in lines] == ["sign_in", "create_desktop"]
        assert lines[1]["target"].startswith("d-")
        assert (await admin.get("/v1/audit", params={"since": "2999-01-01"})).json()["items"] == []
        assert (await admin.delete("/v1/audit")).status_code == 405
    for text in (PASSWORD, OTHER, "no-such-user-but-a-password"):
        assert text not in export.text + str(found)
    # Not even whoever may write to the database by way of the controller changes what was written.
    for statement in ("UPDATE audit SET actor = 'eve'", "DELETE FROM audit"):
        with pytest.raises(IntegrityError, match="append-only"):
            await c.parts.database.write(lambda t, s=statement: t.connection.exec_driver_sql(s))
