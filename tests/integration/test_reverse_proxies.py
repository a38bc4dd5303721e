"""Oriel behind nginx and Caddy, with the configurations in deploy/: what people and programs do, by https."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.fakes.controller import Running, run_against
from tests.fakes.front import Front, front

pytestmark = pytest.mark.parametrize("kind", ["nginx", "caddy"])
LIED = {"X-Forwarded-For": "203.0.113.66", "X-Forwarded-Proto": "http"}


def behind(kind: str, test: Callable[[Running, Front], Any]) -> None:
    async def run(c: Running) -> None:
        with front(kind, int(c.url.rpartition(":")[2])) as before:
            await test(c, before)

    run_against(run, {"trusted_proxies": ("127.0.0.1",)})


@contextlib.asynccontextmanager
async def page(c: Running, before: Front) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has signed in."""
    async with httpx.AsyncClient(
        base_url=before.url,
        verify=before.tls,
        headers={"Origin": before.url} | LIED,
        trust_env=False,
        timeout=60,
    ) as http:
        signed_in = await http.post("/v1/session", json={"token": c.token})
        assert signed_in.status_code in (200, 201), signed_in.text
        assert signed_in.headers["set-cookie"].startswith("__Host-oriel=")
        yield http


def stream(before: Front, path: str, ticket: str, origin: str = "") -> connect:
    return connect(
        f"wss://{urlsplit(before.url).netloc}{path}", ssl=before.tls, proxy=None, compression=None,
        origin=websockets.Origin(origin or before.url),
        subprotocols=[websockets.Subprotocol("binary"), websockets.Subprotocol(f"ticket.{ticket}")],
    )  # fmt: skip


def test_who_signs_in_by_https_keeps_a_cookie_for_this_host_alone(kind: str) -> None:
    async def test(c: Running, before: Front) -> None:
        async with page(c, before) as http:
            answer = await http.get("/v1/session")
            assert answer.status_code == 200
            assert "max-age" in answer.headers["strict-transport-security"]
        async with c.http() as admin, asyncio.timeout(60):
            while not (found := (await admin.get("/v1/audit?action=sign_in")).json()["items"]):
                await asyncio.sleep(0.05)
        assert [entry["address"] for entry in found] == ["127.0.0.1"], "not what the client said of itself"

    behind(kind, test)


def test_a_desktop_is_seen_and_another_sites_page_is_refused(kind: str) -> None:
    async def test(c: Running, before: Front) -> None:
        await c.desktop("mine")
        async with page(c, before) as http:
            made = await http.post("/v1/desktops/mine/tickets", json={"mode": "control"})
            assert made.json()["viewer_url"].startswith(before.url)
            async with stream(before, "/v1/desktops/mine/vnc", made.json()["ticket"]) as socket:
                assert await socket.recv() == b"RFB 003.008\n"
                await socket.send(b"RFB 003.008\n")
                assert await socket.recv()
            again = (await http.post("/v1/desktops/mine/tickets", json={"mode": "view"})).json()["ticket"]
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with stream(before, "/v1/desktops/mine/vnc", again, "https://evil.example"):
                    pass
            assert refused.value.response.status_code == 403

    behind(kind, test)


def test_events_come_as_they_happen(kind: str) -> None:
    """The stream never ends: a proxy that kept pieces back would keep them for ever."""

    async def test(c: Running, before: Front) -> None:
        async with page(c, before) as http, http.stream("GET", "/v1/events") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            lines = events.aiter_lines()
            assert await anext(lines) == ": the stream is open"
            await http.post("/v1/desktops", json={"name": "mine"})
            async with asyncio.timeout(60):
                async for line in lines:
                    if line.startswith("data: ") and json.loads(line[6:])["kind"] == "state.running":
                        return

    behind(kind, test)


def test_files_pass_in_pieces_and_of_any_length(kind: str) -> None:
    async def test(c: Running, before: Front) -> None:
        await c.desktop("mine")

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(128):
                yield b"y" * 65536

        async with page(c, before) as http:
            url = "/v1/desktops/mine/files?path=/big"
            assert (await http.put(url, content=pieces())).status_code == 204
            assert len((await http.get(url)).content) == 128 * 65536

    behind(kind, test)
