"""The controller's log: lines of JSON, with the ids of request and desktop, and without secrets."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import connect

from oriel.host.layout import Home
from oriel.host.records import read_json
from tests.fakes.controller import Running, against
from tests.fakes.hostd import FakeHost

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--port=0", "--log-level=debug")
DEADLINE_S = 120


class Canaries:
    """Secrets of this run, each made once and looked for afterwards."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def new(self, before: str = "") -> str:
        self.made.append(before + secrets.token_hex(16))
        return self.made[-1]

    def note(self, secret: str) -> str:
        self.made.append(secret)
        return secret


async def _use(http: httpx.AsyncClient, url: str, canaries: Canaries) -> dict[str, str]:
    """Everything that takes or gives a secret, right and wrong. Request ids by what was asked."""
    said: dict[str, str] = {}

    async def ask(verb: str, path: str, **options: Any) -> httpx.Response:
        answer = await http.request(verb, path, **options)
        said[f"{verb} {path}"] = answer.headers["x-request-id"]
        return answer

    password = canaries.new("Pass-")
    proxy = f"http://user:{canaries.new()}@203.0.113.9:8080"
    made = await ask("POST", "/v1/desktops", json={"name": "mine"})
    assert made.status_code == 201
    async with asyncio.timeout(DEADLINE_S):
        while (await http.get("/v1/desktops/mine")).json()["state"] != "running":
            await asyncio.sleep(0.05)
    await ask("POST", "/v1/users", json={"name": "ann", "role": "user", "password": password})
    token = (await ask("POST", "/v1/tokens", json={"user": "ann", "name": "t"})).json()["token"]
    canaries.note(token)
    await ask("POST", "/v1/session", json={"user": "ann", "password": password})
    await ask("POST", "/v1/session", json={"user": "ann", "password": canaries.new()})
    await ask("POST", "/v1/session", json={"token": canaries.new("oriel_")})
    await ask("GET", "/v1/desktops", headers={"Authorization": f"Bearer {canaries.new('oriel_')}"})
    await ask("POST", "/v1/proxies", json={"name": "out", "url": proxy})
    await ask("POST", "/v1/proxies", json={"name": "wrong", "url": f"nonsense://x:{canaries.new()}@y"})
    await ask("POST", "/v1/desktops", json={"name": "b", "proxy": canaries.new(), "vcpus": canaries.new()})
    await ask("POST", "/v1/desktops/mine/exec", json={"argv": ["env"], "env": {"KEY": canaries.new()}})
    await ask("PUT", "/v1/desktops/mine/computer/clipboard", json={"text": canaries.new()})
    await ask("POST", "/v1/desktops/mine/computer/type", json={"text": canaries.new()})
    await ask("PUT", "/v1/desktops/mine/files?path=/home/user/key", content=canaries.new().encode())
    ticket = (await ask("POST", "/v1/desktops/mine/tickets", json={"mode": "control"})).json()["ticket"]
    link = (await ask("POST", "/v1/desktops/mine/tickets", json={"mode": "view", "ttl_s": 3600})).json()
    opened = await ask("POST", "/v1/tickets/redeem", json={"ticket": canaries.note(link["ticket"])})
    canaries.note(opened.json()["grant"])
    for offered in (ticket, canaries.new("ticket_")):
        with suppress(websockets.InvalidStatus):
            async with connect(
                f"ws{url.removeprefix('http')}/v1/desktops/mine/vnc",
                origin=websockets.Origin(url), proxy=None,
                subprotocols=[websockets.Subprotocol(f"ticket.{canaries.note(offered)}")],
            ) as socket:  # fmt: skip
                await socket.recv()
    return said


def test_lines_have_their_ids_and_no_secret() -> None:
    canaries = Canaries()

    async def run(home: Home) -> None:
        log = home.root / "log"
        async with FakeHost(home):
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "oriel.controller", "--home", home.root, *FLAGS],
                    stdout=output, stderr=output, cwd=ROOT, env={"PATH": os.environ["PATH"]},
                )  # fmt: skip
            try:
                async with asyncio.timeout(DEADLINE_S):
                    while not home.controller_record.exists():
                        assert process.poll() is None, log.read_text()
                        await asyncio.sleep(0.05)
                url = str((read_json(home.controller_record) or {})["url"])
                token = canaries.note(home.admin_token.read_text().strip())
                headers = {"Authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(
                    base_url=url, headers=headers, trust_env=False, timeout=DEADLINE_S
                ) as http:
                    said = await _use(http, url, canaries)
                    desktop = (await http.get("/v1/desktops/mine")).json()["id"]
                    shown = [(await http.get(path)).text for path in ("/metrics", "/v1/audit", "/v1/proxies")]
                    shown.append((await http.get("/v1/events?after=0&follow=0")).text)
            finally:
                process.terminate()
                process.wait(DEADLINE_S)
        text = log.read_text()
        for canary in canaries.made:
            assert canary not in text
            assert not [one for one in shown if canary in one]
        lines = [json.loads(line) for line in text.splitlines()]
        assert all({"at", "level", "message"} <= line.keys() for line in lines)
        requests = {line["request"]: line for line in lines if line["message"] == "request"}
        for asked, request_id in said.items():
            assert request_id in requests, asked
            if "/desktops/mine" in asked:
                assert requests[request_id]["desktop"] == desktop, asked
        streams = [line for line in lines if line["message"] == "websocket"]
        # Each line is written when its stream has ended, so either may come first.
        (refused,) = (line for line in streams if line["outcome"] == "unauthenticated")
        (opened,) = (line for line in streams if line is not refused)
        assert opened["desktop"] == desktop

    with tempfile.TemporaryDirectory(prefix="oc-") as directory:
        asyncio.run(run(Home(Path(directory))))


@against()
async def test_reading_what_is_private_leaves_a_trace(c: Running) -> None:
    desktop = await c.desktop("mine")
    ann = await c.person("ann")
    async with c.http() as http:
        await http.put("/v1/desktops/mine/files?path=/a", content=b"a")
        for path in ("files?path=/a", "computer/clipboard", "logs", "computer/screenshot", "egress", ""):
            assert (await http.get(f"/v1/desktops/mine/{path}".rstrip("/"))).status_code == 200
        await http.post("/v1/desktops/mine/shares", json={"user": "ann", "mode": "view"})
    assert (await c.ask(ann, "GET", "/v1/desktops/mine/computer/screenshot")).status_code == 200
    wanted = [
        ("admin", "read_file"), ("admin", "get_clipboard"), ("admin", "show_logs"), ("ann", "screenshot"),
    ]  # fmt: skip
    async with c.http() as http, asyncio.timeout(60):
        while True:
            items = (await http.get(f"/v1/audit?target={desktop.spec.id}")).json()["items"]
            reads = [(one["actor"], one["action"]) for one in reversed(items)]
            if ("ann", "screenshot") in reads:
                break
    assert [one for one in reads if one in wanted] == wanted
    assert ("admin", "screenshot") not in reads, "one's own screen is looked at all the time"
