"""The clipboard through the controller: its formats, its limits, and the rule that every way keeps to."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from oriel.controller.picture import encode_png, from_bgrx
from oriel.model.clipboard import HTML, IMAGE, MOST_BYTES, TEXT, Way
from oriel.model.errors import ForbiddenError, InvalidError
from tests.fakes.controller import Running, against, closed

PICTURE = encode_png(from_bgrx(bytes(range(64)), 4, 4, 16))
HELLO = b"RFB 003.008\n\x01\x01"
CUT = struct.pack(">BxxxI", 6, 5) + b"typed"
ASK = struct.pack(">BBHHHH", 3, 0, 0, 0, 1280, 720)


@against()
async def test_text_markup_and_pictures_go_both_ways(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        computer = (await oriel.desktop("mine")).computer
        await computer.set_clipboard("zwei €", html="<b>zwei</b> €")
        assert desktop.agent.clips == {TEXT: "zwei €".encode(), HTML: "<b>zwei</b> €".encode()}
        assert (await computer.clipboard(), await computer.clipboard_html()) == ("zwei €", "<b>zwei</b> €")
        assert await computer.clipboard_image() is None
        await computer.set_clipboard_image(PICTURE)
        assert desktop.agent.clips == {IMAGE: PICTURE}
        assert await computer.clipboard_image() == PICTURE
        assert (await computer.clipboard(), await computer.clipboard_html()) == ("", None)


@against()
async def test_what_is_too_much_or_no_picture_is_refused_in_words(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        computer = (await oriel.desktop("mine")).computer
        with pytest.raises(InvalidError, match="2 MiB"):
            await computer.set_clipboard("é" * (MOST_BYTES[TEXT] // 2 + 1))
        await computer.set_clipboard("é" * (MOST_BYTES[TEXT] // 2))
        with pytest.raises(InvalidError, match="no picture that can be taken"):
            await computer.set_clipboard_image(b"<svg onload=alert(1)>")
        with pytest.raises(InvalidError, match="missing"):
            await computer.set_clipboard()
    too_long = await c.ask(
        c.token, "PUT", "/v1/desktops/mine/computer/clipboard/image", content=bytes(26 << 20)
    )
    assert (too_long.status_code, too_long.json()["code"]) == (413, "too_large")
    assert desktop.agent.clips == {TEXT: "é".encode() * (MOST_BYTES[TEXT] // 2)}


@pytest.mark.parametrize("way", Way)
@against()
async def test_the_rule_holds_for_programs(c: Running, way: Way) -> None:
    async with c.sdk() as oriel:
        made = await oriel.desktops.create("mine", clipboard=str(way), deadline_s=60)
        assert made.info.document["clipboard"] == way
        agent, computer = c.host.named("mine").agent, made.computer
        agent.copy(text=b"from there", image=PICTURE)
        for reading in (computer.clipboard, computer.clipboard_html):
            await allowed(reading(), way.gives, way)
        image = await c.ask(c.token, "GET", "/v1/desktops/mine/computer/clipboard/image")
        assert image.status_code == (200 if way.gives else 403)
        await allowed(computer.set_clipboard("to there"), way.takes, way)
        await allowed(computer.set_clipboard_image(PICTURE), way.takes, way)
        assert (agent.clips == {IMAGE: PICTURE}) is way.takes
        # Whoever owns it changes the rule; a fork begins with it.
        assert (await made.change(clipboard="in")).document["clipboard"] == "in"
        fork = await made.fork("other", wait=False)
        assert fork.info.document["clipboard"] == "in"


async def allowed(work: Any, expected: bool, way: Way) -> None:
    if expected:
        await work
        return
    with pytest.raises(ForbiddenError, match=f"by its clipboard, which is {way}") as caught:
        await work
    assert caught.value.code == "clipboard_closed"
    assert "its owner may change that" in caught.value.hint


@pytest.mark.parametrize("way", Way)
@against()
async def test_the_rule_holds_on_the_vnc_rung(c: Running, way: Way) -> None:
    """What a viewer says and what the screen says pass the porter: there the rule is kept."""
    async with c.sdk() as oriel:
        made = await oriel.desktops.create("mine", clipboard=str(way), deadline_s=60)
        screen = c.host.named("mine").screen
        async with await made.vnc() as socket:
            await socket.send(HELLO + CUT + ASK)
            said = bytearray()
            while len(said) < screen.width * screen.height * 4:
                piece = await socket.receive()
                assert isinstance(piece, bytes)
                said += piece
            assert screen.clipboard == (["typed"] if way.takes else [])
            screen.copy("SECRET")
            await screen.note(("key", 1, True))
            await socket.send(ASK)
            said.clear()
            while len(said) < screen.width * screen.height * 4:
                piece = await socket.receive()
                assert isinstance(piece, bytes)
                said += piece
            assert (b"SECRET" in said) is way.gives


@against()
async def test_a_new_rule_holds_for_what_is_open(c: Running) -> None:
    await c.desktop("mine")
    async with c.websocket("/v1/desktops/mine/vnc", token=c.token) as socket:
        await socket.send(HELLO)
        await socket.recv()
        changed = await c.ask(c.token, "PATCH", "/v1/desktops/mine", json={"clipboard": "off"})
        assert changed.json()["clipboard"] == "off"
        assert await closed(socket) == (4409, "wrong_state")
    wrong = await c.ask(c.token, "PATCH", "/v1/desktops/mine", json={"clipboard": "sideways"})
    assert wrong.status_code == 422
    assert wrong.json()["faults"][0]["field"] == "clipboard"


@against()
async def test_others_may_not_change_the_rule(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("mine")
    share = {"user": "ann", "mode": "control"}
    assert (await c.ask(c.token, "POST", "/v1/desktops/mine/shares", json=share)).status_code == 201
    answer = await c.ask(ann, "PATCH", "/v1/desktops/mine", json={"clipboard": "off"})
    assert answer.status_code in (403, 404)
    assert (await c.state("mine"))["clipboard"] == "both"
