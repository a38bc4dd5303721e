"""Files by pieces, downloads that are told, and the lease, as programs use them."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
from contextlib import aclosing, suppress

import pytest
from websockets.exceptions import ConnectionClosed

from oriel.model.errors import InvalidError, StateError
from tests.fakes.controller import Running, against, closed, refused

FILES = "/v1/desktops/mine/files"


@against()
async def test_an_upload_goes_on_where_it_broke_off(c: Running) -> None:
    desktop = await c.desktop("mine")
    data, upload = os.urandom(3_000_000), secrets.token_hex(16)
    where = {"path": "big.bin", "upload": upload}
    begun = await c.ask(
        c.token, "PUT", FILES, params=where, content=data[:1_000_000],
        headers={"Content-Range": f"bytes 0-999999/{len(data)}"},
    )  # fmt: skip
    assert begun.json() == {"offset": 1_000_000, "complete": False}
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    again = await c.ask(c.token, "PUT", FILES, params=where, content=data, headers=whole)
    assert (again.status_code, again.json()["code"]) == (409, "wrong_offset")
    async with c.sdk() as oriel:
        files = (await oriel.desktop("mine")).files
        assert await files.uploaded("big.bin", upload) == 1_000_000
        await files.upload(io.BytesIO(data), "big.bin", upload=upload)
        assert desktop.agent.files["big.bin"] == data
        await files.upload(io.BytesIO(b""), "empty", upload=secrets.token_hex(16))
        assert desktop.agent.files["empty"] == b""
        await c.ask(
            c.token, "PUT", FILES, params=where, content=b"x", headers={"Content-Range": "bytes 0-0/2"}
        )
        await files.abandon("big.bin", upload)
        assert await files.uploaded("big.bin", upload) == 0


@pytest.mark.parametrize(
    "given",
    [
        "",
        "bytes 0-0",
        "bytes 0-1/2",
        "bytes 1-0/2",
        "bytes 0-0/0",
        "bytes */2",
        "bytes 0-0/99999999999999999",
    ],
)
@against(upload_limit_mib=1)
async def test_pieces_that_do_not_fit_are_refused(c: Running, given: str) -> None:
    desktop = await c.desktop("mine")
    where = {"path": "x", "upload": secrets.token_hex(16)}
    headers = {"Content-Range": given} if given else {}
    answer = await c.ask(c.token, "PUT", FILES, params=where, content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["faults"][0]["field"]) == (422, "Content-Range")
    headers = {"Content-Range": f"bytes 0-0/{(1 << 20) + 1}"}
    answer = await c.ask(c.token, "PUT", FILES, params=where, content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert desktop.agent.begun == {}


@against()
async def test_finished_downloads_are_told_to_programs_and_viewers(c: Running) -> None:
    desktop = await c.desktop("mine")
    ticket = await c.ticket("mine")
    async with c.sdk() as oriel, c.websocket("/v1/desktops/mine/webrtc", ticket=ticket) as viewer:
        mine = await oriel.desktop("mine")
        async with aclosing(mine.downloads()) as downloads, asyncio.timeout(120):
            told = asyncio.ensure_future(anext(downloads))
            while len(desktop.agent.watchers) < 2:
                await asyncio.sleep(0.01)
            desktop.agent.download("report.pdf", b"%PDF")
            assert await told == {"name": "report.pdf", "size": 4}
            assert await mine.files.read("/home/user/Downloads/report.pdf") == b"%PDF"
            while '"download"' not in (message := str(await viewer.recv())):
                continue
            assert message == '{"type":"download","name":"report.pdf","size":4}'


@against()
async def test_downloads_are_told_to_nobody_who_may_not_fetch_them(c: Running) -> None:
    await c.desktop("mine")
    status, document = await refused(
        c.websocket("/v1/desktops/mine/downloads", ticket=await c.ticket("mine", "view"))
    )
    assert (status, document["code"]) == (403, "forbidden")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "", "x" * 256, "nul\0"])
@against()
async def test_a_guest_s_download_with_an_impossible_name(c: Running, name: str) -> None:
    desktop = await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/downloads", token=c.token) as socket, asyncio.timeout(120):
        while not desktop.agent.watchers:
            await asyncio.sleep(0.01)
        desktop.agent.download(name, b"x")
        assert await closed(socket) == (4502, "protocol")


@against()
async def test_a_flood_of_downloads_is_thinned_out(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/downloads", token=c.token) as socket, asyncio.timeout(120):
        while not desktop.agent.watchers:
            await asyncio.sleep(0.01)
        for number in range(2000):
            desktop.agent.download(f"{number}.txt", b"x")
        desktop.agent.download("a/b", b"the end")
        told = 0
        with suppress(ConnectionClosed):
            while await socket.recv():
                told += 1
        assert socket.close_code == 4502
        assert 20 <= told < 1000


@against()
async def test_programs_pass_the_lease_to_each_other(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("mine")
    share = {"user": "ann", "mode": "control"}
    await c.ask(c.token, "POST", "/v1/desktops/mine/shares", json=share)
    async with c.sdk() as oriel, c.sdk(ann) as other:
        mine, hers = await oriel.desktop("mine"), await other.desktop("mine")
        told = await mine.control.take()
        assert told["holder"] == told["you"]
        driver = next(viewer for viewer in told["viewers"] if viewer["id"] == told["holder"])
        assert driver["kind"] == "agent"
        assert (await mine.refresh()).document["driver"] == {"name": driver["name"], "kind": "agent"}
        asked = await hers.control.request()
        assert asked["requests"] == [asked["you"]]
        with pytest.raises(StateError, match="is driving"):
            await hers.computer.click(1, 1)
        assert (await hers.control.withdraw())["requests"] == []
        await hers.control.request()
        given = await mine.control.give(asked["you"])
        assert (given["holder"], given["requests"]) == (asked["you"], [])
        await hers.computer.click(1, 1)
        with pytest.raises(StateError, match="only who drives"):
            await mine.control.give()
        with pytest.raises(InvalidError, match="nobody who looks"):
            await hers.control.give("nobody")
        assert (await hers.control.give())["holder"] is None
        assert (await mine.control.take())["holder"] == told["you"]
