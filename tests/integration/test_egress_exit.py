"""The gateway tells the address the world sees, by itself: at first, after a change, and when it moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oriel.egress import exit as exit_module
from oriel.egress.exit import watch_exit
from oriel.egress.gateway import Gateway
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.secret import Secret
from tests.fakes.gateway import RunningGateway, running_gateway
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

pytestmark = pytest.mark.anyio
ECHO = "http://echo.test/ip"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    with Origin() as server:
        yield server


def proxied(origin: Origin, source: str) -> UpstreamProxy:
    return UpstreamProxy(
        username="u", password="p", source=source, hosts={"echo.test": ("127.0.0.1", origin.port)}
    )


async def exits(gateway: RunningGateway, count: int) -> list[tuple[str, str]]:
    """The first `count` that were told."""
    async with asyncio.timeout(20):
        while len(told := [e for e in gateway.events if e["event"] == "exit"]) < count:
            await asyncio.sleep(0.01)
    return [(event["address"], event["via"]) for event in told]


async def test_it_is_told_after_each_change(origin: Origin) -> None:
    with proxied(origin, "127.0.0.51") as one, proxied(origin, "127.0.0.52") as two:
        async with running_gateway() as gateway:
            for upstream in (one, two):
                spec = EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),), echo_url=ECHO)
                await gateway.client.configure(spec)
                await exits(gateway, 1 if upstream is one else 2)
                counters = await gateway.client.counters()
                assert (counters["exit_ip"], counters["upstream_ok"]) == (upstream.source, True)
            labels = [f"http://127.0.0.1:{upstream.port}" for upstream in (one, two)]
            assert await exits(gateway, 2) == [("127.0.0.51", labels[0]), ("127.0.0.52", labels[1])]
            # Nothing of it counts as the guest's.
            assert (counters["connections"], counters["bytes_in"]) == (0, 0)
            await gateway.client.configure(EgressSpec())
            assert (await gateway.client.counters())["exit_ip"] == ""


async def test_a_proxy_that_does_not_work_is_told_before_anybody_uses_it(origin: Origin) -> None:
    with proxied(origin, "127.0.0.51") as upstream:
        async with running_gateway() as gateway:
            wrong = Secret(upstream.url.replace(":p@", ":q@"))
            await gateway.client.configure(
                EgressSpec(mode=EgressMode.PROXY, upstreams=(wrong,), echo_url=ECHO)
            )
            async with asyncio.timeout(20):
                while not (told := [e for e in gateway.events if e["event"] == "upstream"]):
                    await asyncio.sleep(0.01)
    assert (told[0]["ok"], told[0]["fault"]) == (False, "authentication")


async def test_an_address_that_moves_is_told(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_module, "EVERY_S", 0.01)
    events: list[dict[str, object]] = []
    gateway = Gateway(events.append)
    with proxied(origin, "127.0.0.51") as upstream:
        gateway.configure(EgressSpec(mode=EgressMode.PROXY, upstreams=(Secret(upstream.url),), echo_url=ECHO))
        watching = asyncio.create_task(watch_exit(gateway))
        for source in ("127.0.0.51", "127.0.0.52"):
            upstream.source = source
            async with asyncio.timeout(20):
                while not any(e.get("address") == source for e in events):
                    await asyncio.sleep(0.01)
        watching.cancel()
    assert [e["address"] for e in events if e["event"] == "exit"] == ["127.0.0.51", "127.0.0.52"]
