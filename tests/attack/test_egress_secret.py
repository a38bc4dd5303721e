"""Whoever looks for the upstream's password does not find it."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.errors import InvalidError
from oriel.model.secret import Secret
from tests.fakes.gateway import running_gateway
from tests.fakes.guest import guest
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:  # the host can reach it
            assert answer.status == 200
        server.seen.clear()
        server.accepted = 0
        yield server


CANARY = "canary-Zm9v-password"


async def test_the_password_is_nowhere_to_be_found(origin: Origin) -> None:
    pages: list[bytes] = []
    uid = 65534 if os.geteuid() == 0 else None
    with (
        UpstreamProxy(username="canary-user", password=CANARY) as good,
        UpstreamProxy(username="canary-user", password="another") as strict,
    ):
        good.hosts["origin.test"] = ("127.0.0.1", origin.port)
        async with running_gateway(uid=uid) as gateway:
            for url in (
                good.url,
                strict.url.replace("another", CANARY),
                f"https://canary-user:{CANARY}@127.0.0.1:1",
            ):
                await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(url),)))
                for target in ("http://origin.test/ip", "http://unknown.test/"):
                    async with guest(gateway.proxy_port) as program:
                        answer = await program.get(target)
                        pages.append(repr(answer).encode())
                await gateway.client.check("", "http://origin.test/ip")
            bad = Secret(f"http://canary-user:{CANARY}@host.example:0")
            with pytest.raises(InvalidError) as raised:
                await gateway.client.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(bad,)))
            counters = await gateway.client.counters()
            process = Path(f"/proc/{gateway.process.pid}")
            places = {
                "log": gateway.log.read_bytes(),
                "cmdline": (process / "cmdline").read_bytes(),
                "environ": (process / "environ").read_bytes(),
                "events": repr(gateway.events).encode(),
                "counters": repr(counters).encode(),
                "error": repr(raised.value.to_wire()).encode() + repr(raised.value).encode(),
                "pages": b"".join(pages),
                "origin": b"".join(seen.head for seen in origin.seen),
            }
            assert good.authorities, "the upstream itself did get it"
            for place, content in places.items():
                assert content, place
                for form in (CANARY.encode(), b"Y2FuYXJ5LXVzZXI6", b"Basic"):  # plain, base64 of user:…
                    assert form not in content, place
            _check_hardened(process, uid)


def _check_hardened(process: Path, uid: int | None) -> None:
    status = (process / "status").read_text()
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Max core file size\s+0\s+0\s", (process / "limits").read_text(), re.MULTILINE)
    if uid is not None:
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        # Not dumpable: its memory belongs to root, not to others of the same user.
        assert (process / "mem").stat().st_uid == 0
