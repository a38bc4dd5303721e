"""Ways out through the API: pools, exclusive proxies, changes while it runs, the address the world sees."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from oriel.model.state import State
from tests.fakes.controller import Running, against
from tests.fakes.origin import Origin
from tests.fakes.upstream import UpstreamProxy

POOL = "http://u:pa55-canary@203.0.113.5:10001-10002"


async def add(c: Running, name: str = "pool", url: str = POOL, **more: object) -> dict:
    async with c.http() as http:
        answer = await http.post("/v1/proxies", json={"name": name, "url": url, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()


def upstreams(c: Running, name: str) -> list[str]:
    """What the gateway of a desktop was told."""
    egress = c.host.named(name).egress
    assert egress is not None
    return [secret.reveal().rpartition("@")[2] for secret in egress.upstreams]


@against()
async def test_each_user_gets_an_address_of_a_shared_pool(c: Running) -> None:
    made = await add(c, shared=True)
    assert (made["addresses"], made["in_use"], made["shared"]) == (2, 0, True)
    for person in ("anne", "bob"):
        token = await c.person(person)
        async with c.sdk(token) as oriel:
            for number in (1, 2):
                await oriel.desktops.create(f"{person}{number}", proxy="pool", deadline_s=10)
            shown = await oriel.proxies.get("pool")
            assert [one["owner"] for one in shown["desktops"]] == [person, person]
    assert upstreams(c, "anne1") == upstreams(c, "anne2") == ["203.0.113.5:10001"]
    assert upstreams(c, "bob1") == upstreams(c, "bob2") == ["203.0.113.5:10002"]
    token = await c.person("cid")
    async with c.http(token) as http:
        refused = await http.post("/v1/desktops", json={"name": "cids", "proxy": "pool"})
        assert (refused.status_code, refused.json()["code"]) == (409, "proxy_exhausted")
        # It may be used, not changed; and only an administrator shares.
        assert (await http.patch("/v1/proxies/pool", json={"labels": {}})).status_code == 403
        sharing = await http.post("/v1/proxies", json={"name": "own", "url": POOL, "shared": True})
        assert sharing.status_code == 403
        assert "canary" not in (await http.get("/v1/proxies")).text


@against()
async def test_an_exclusive_proxy_in_use_is_a_409(c: Running) -> None:
    await add(c, "one", "http://203.0.113.5:10001", exclusive=True)
    await c.desktop("first")
    await c.desktop("second")
    async with c.http() as http:
        assert (await http.post("/v1/proxies/one/assign", json={"desktop": "first"})).status_code == 200
        for answer in (
            await http.post("/v1/proxies/one/assign", json={"desktop": "second"}),
            await http.patch("/v1/desktops/second/egress", json={"proxy": "one"}),
            await http.post("/v1/desktops", json={"name": "third", "proxy": "one"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "proxy_in_use")
        assert upstreams(c, "second") == []
        await http.patch("/v1/desktops/first/egress", json={"proxy": "none"})
        assert (await http.post("/v1/proxies/one/assign", json={"desktop": "second"})).status_code == 200
        both = await http.post(
            "/v1/proxies", json={"name": "x", "url": POOL, "exclusive": True, "failover": True}
        )
        assert both.status_code == 422


@against()
async def test_a_new_url_and_failover_are_in_force_at_once(c: Running) -> None:
    await add(c)
    await c.desktop("mine")
    async with c.http() as http:
        await http.post("/v1/proxies/pool/assign", json={"desktop": "mine"})
        await http.patch("/v1/proxies/pool", json={"url": POOL.replace("203.0.113.5", "203.0.113.6")})
        assert upstreams(c, "mine") == ["203.0.113.6:10001"]
        await http.patch("/v1/proxies/pool", json={"failover": True})
        assert upstreams(c, "mine") == ["203.0.113.6:10001", "203.0.113.6:10002"]
        bad = await http.patch("/v1/proxies/pool", json={"url": "h:1\nnonsense://h\nh:0"})
    assert bad.status_code == 422
    assert [fault["problem"].partition(":")[0] for fault in bad.json()["faults"]] == ["line 2"] * 2 + [
        "line 3"
    ]


@against()
async def test_limits_and_access_log_are_part_of_the_policy(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.http() as http:
        wanted = {"byte_quota": 1000, "connections_per_second": 5, "access_log": True}
        answer = (await http.patch("/v1/desktops/mine/egress", json=wanted)).json()
        assert {key: answer[key] for key in wanted} == wanted
        assert desktop.egress is not None
        assert desktop.egress.policy.byte_quota == 1000
        # What was used is counted by its gateway; to begin anew is a word of its own, and it is kept.
        roomy = (await http.patch("/v1/desktops/mine/egress", json={"byte_quota": 10_000})).json()
        assert (roomy["quota_used"], roomy["quota_left"], desktop.egress.policy.quota_round) == (
            5700,
            4300,
            0,
        )
        for number in (1, 2):
            await http.patch("/v1/desktops/mine/egress", json={"reset_quota": True})
            await http.patch("/v1/desktops/mine/egress", json={"max_connections": 100 + number})
            assert desktop.egress.policy.quota_round == number
        free = (await http.patch("/v1/desktops/mine/egress", json={"byte_quota": 0})).json()
        assert free["quota_left"] is None
        assert (desktop.egress.policy.byte_quota, desktop.egress.policy.access_log) == (0, True)
        refused = await http.patch("/v1/desktops/mine/egress", json={"max_connections": 0, "byte_quota": -1})
        assert {fault["field"] for fault in refused.json()["faults"]} == {"max_connections", "byte_quota"}
        log = (await http.get("/v1/desktops/mine/egress/access")).json()["items"]
        assert [(line["host"], line["port"]) for line in log] == [("a.test", 443)]


@against()
async def test_a_limit_that_an_administrator_set_is_not_the_owner_s_to_change(c: Running) -> None:
    ann = await c.person("ann")
    await c.desktop("hers", ann)
    path = "/v1/desktops/hers/egress"
    async with c.http() as admin, c.http(ann) as hers:
        assert (await hers.patch(path, json={"byte_quota": 5})).status_code == 200
        limited = await admin.patch(path, json={"byte_quota": 1000, "access_log": True})
        assert limited.json()["held"] == ["access_log", "byte_quota"]
        for change in ({"byte_quota": 0}, {"byte_quota": 2000}, {"reset_quota": True}, {"access_log": False}):
            refused = await hers.patch(path, json={**change, "bytes_per_second": 7})
            assert (refused.status_code, refused.json()["code"]) == (403, "limit_held"), change
        # Nothing of a refused change is done; what is hers stays hers, and what is the same is no change.
        mine = (await hers.patch(path, json={"byte_quota": 1000, "max_connections": 50})).json()
        assert (mine["byte_quota"], mine["bytes_per_second"], mine["max_connections"]) == (1000, 0, 50)
        assert (await admin.patch(path, json={"reset_quota": True})).json()["held"] == [
            "access_log",
            "byte_quota",
        ]
        freed = await admin.patch(path, json={"byte_quota": 0})
        assert freed.json()["held"] == ["access_log"]
        assert (await hers.patch(path, json={"byte_quota": 7})).json()["byte_quota"] == 7


async def exit_of(c: Running, name: str, address: str) -> dict:
    """What the API tells, once it tells that address."""
    async with c.sdk() as oriel, asyncio.timeout(10):
        async for _ in (await oriel.desktop(name)).events(after=0):
            shown = (await c.state(name))["exit"]
            if shown["ip"] == address:
                return shown
    raise AssertionError


def test_the_exit_badge(tmp_path: Path) -> None:
    """The address, its country, and a warning when it is another one without anybody's doing."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="test")
    writer.insert_network(IPSet(["203.0.113.0/25"]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(["203.0.113.128/25"]), {"country": "NL"})
    writer.to_db_file(str(tmp_path / "countries.mmdb"))

    @against(country_database=tmp_path / "countries.mmdb")
    async def body(c: Running) -> None:
        await add(c)
        desktop = await c.desktop("mine")
        async with c.http() as http:
            await http.post("/v1/proxies/pool/assign", json={"desktop": "mine"})
            via = "http://203.0.113.5:10001"
            await desktop.record("egress.exit", address="203.0.113.7", via=via)
            assert await exit_of(c, "mine", "203.0.113.7") == {
                "ip": "203.0.113.7", "was": "", "country": "DE"
            }  # fmt: skip
            await desktop.record("egress.exit", address="203.0.113.200", via=via)
            assert await exit_of(c, "mine", "203.0.113.200") == {
                "ip": "203.0.113.200", "was": "203.0.113.7", "country": "NL"
            }  # fmt: skip
            # Somebody has looked at it; the way out is the same.
            await http.patch("/v1/desktops/mine/egress", json={})
            assert (await c.state("mine"))["exit"]["was"] == ""
            # Another way out: another address is no surprise, and what the old one still tells is not it.
            await http.patch("/v1/desktops/mine/egress", json={"proxy": "direct"})
            assert (await c.state("mine"))["exit"]["ip"] == ""
            await desktop.record("egress.exit", address="203.0.113.201", via=via)
            await desktop.record("egress.exit", address="203.0.113.9", via="direct")
            assert (await exit_of(c, "mine", "203.0.113.9"))["was"] == ""

    body()


@against()
async def test_prometheus_has_each_desktops_way_out_by_its_id(c: Running) -> None:
    desktop = await c.desktop("mine")
    await c.desktop("other")
    anne, bob = await c.person("anne"), await c.person("bob")
    annes = await c.desktop("annes", anne)
    await c.until("mine", "running")
    desktop.counted = {"block.read_bytes": 4096}
    async with c.http() as http:
        await http.post("/v1/desktops/other/stop")
        text = (await http.get("/metrics")).text
    async with c.sdk() as oriel:
        _, secret = await oriel.tokens.create("admin", "prometheus", scopes=("read",))
    reader = secret.reveal()
    everybodys = {desktop.spec.id, annes.spec.id}
    seen: dict[str, set[str]] = {"": set(), anne: {annes.spec.id}, bob: set(), reader: everybodys}
    for token, ids in seen.items():
        async with c.http(token) as http:
            others = (await http.get("/metrics")).text
        assert set(re.findall(r'desktop="([^"]+)"', others)) == ids
        assert "oriel_desktops{" in others
    async with c.http("nonsense") as http:
        assert (await http.get("/metrics")).status_code == 401
    ours = f'{{desktop="{desktop.spec.id}"'
    assert f'oriel_egress_bytes_total{ours},direction="in"}} 5000.0' in text
    assert f'oriel_egress_denied_total{ours},reason="not_public"}} 1.0' in text
    assert f"oriel_egress_upstream_ok{ours}}} 1.0" in text
    assert f"oriel_vmm_block_read_bytes_total{ours}}} 4096.0" in text
    assert f'oriel_egress_connect_seconds_bucket{ours},le="0.05"}} 2.0' in text
    assert re.search(rf"oriel_egress_connect_seconds_sum\{ours}\}} 0.03", text)
    assert set(re.findall(r'desktop="([^"]+)"', text)) == everybodys
    assert desktop.state is State.RUNNING


def test_check_tells_address_and_ports_of_one_of_a_pool() -> None:
    with (
        Origin() as origin,
        UpstreamProxy(username="u", password="p", source="127.0.0.41") as first,
        UpstreamProxy(username="u", password="p", source="127.0.0.42") as second,
    ):
        for upstream in (first, second):
            upstream.hosts["echo.test:80"] = upstream.hosts["echo.test:443"] = ("127.0.0.1", origin.port)
            upstream.forbidden_ports.add(22)

        @against(echo_url="http://echo.test/ip")
        async def body(c: Running) -> None:
            await add(c, url=f"{first.url}\n{second.url}")
            async with c.sdk() as oriel:
                report = await oriel.proxies.check("pool", place=1)
                assert (report["exit_ip"], report["authenticated"]) == ("127.0.0.42", True)
                assert report["ports"] == {"22": False, "80": True, "443": True}
                assert (await oriel.proxies.check("pool"))["exit_ip"] == "127.0.0.41"
                assert json.dumps(report).find(second.password + "@") < 0

        body()
