"""The API over a fake host on real sockets, as its clients see it."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest

from oriel.model.errors import LaunchError, NoSpaceError
from oriel.model.state import State
from tests.fakes.controller import Running, against
from tests.fakes.hostd import IMAGE


@against()
async def test_a_desktop_from_wish_to_nothing(c: Running) -> None:
    async with c.sdk() as oriel:
        desktop = await oriel.desktops.create("mine", deadline_s=10)
        info = desktop.info
        assert (info.state, info.runtime, info.isolation, info.image) == (
            "running",
            "container",
            "container",
            IMAGE,
        )
        assert info.viewer_url == f"{c.url}/desktops/mine"
        assert info.ready_at is not None
        assert set(info.timings) == {
            "link",
            "disk",
            "gateway",
            "machine",
            "agent",
            "identity",
            "windows",
            "total",
        }
        kinds = []
        async for event in desktop.events(after=0):
            kinds.append(event.kind)
            if event.kind == "state.running":
                break
        steps = [
            f"step.{step}" for step in ("link", "disk", "gateway", "machine", "agent", "identity", "windows")
        ]
        assert kinds[:2] == ["state.creating", "state.starting"]
        assert [kind for kind in kinds if kind.startswith("step.")] == steps
        assert c.host.named("mine").egress is not None
        assert (await desktop.stop()).state == "stopped"
        assert (await desktop.start(deadline_s=10)).state == "running"
        await desktop.delete()
        assert await oriel.desktops.list() == []
    assert c.host.desktops == {}


@against()
async def test_what_a_keeper_tells_of_its_host_stays_inside(c: Running) -> None:
    await c.desktop("mine")
    async with c.sdk() as oriel:
        told = ""
        async for event in (await oriel.desktop("mine")).events(after=0):
            told += json.dumps(event.to_json())
            if event.kind == "state.running":
                break
    assert "machine.started" in told
    assert "secret-of-the-host" not in told


@against()
async def test_all_faults_of_a_wish_come_together(c: Running) -> None:
    wish = {"name": "Not_A_Name", "runtime": "vmware", "vcpus": 0, "memory_mib": "much", "disk_gib": 4000,
            "screen": {"width": 1, "height": 720}, "rates": {"disk_mib_s": -1}, "proxy": "nobodys",
            "nonsense": 1,
            "labels": {"a b": "c"}}  # fmt: skip
    async with c.http() as http:
        answer = await http.post("/v1/desktops", json=wish)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    fields = {fault["field"].partition(".")[0] for fault in answer.json()["faults"]}
    assert fields == set(wish)
    assert c.host.desktops == {}


@against()
async def test_rates_and_processors_are_what_the_runtime_can_do(c: Running) -> None:
    c.host.runtimes["firecracker"] = {"works": True, "isolation": "vm", "detail": "works", "hint": ""}
    rates = {"disk_mib_s": 20, "disk_ops_s": 0, "network_mib_s": 5}
    async with c.http() as http:
        other = await http.post("/v1/desktops", json={"runtime": "container", "rates": rates})
        faults = {fault["field"]: fault["problem"] for fault in other.json()["faults"]}
        assert other.status_code == 422
        assert set(faults) == {"rates.disk_mib_s", "rates.network_mib_s"}
        assert faults["rates.disk_mib_s"] == "only firecracker limits it, not container"
        wide = await http.post("/v1/desktops", json={"runtime": "firecracker", "vcpus": 33})
        assert wide.json()["faults"] == [{"field": "vcpus", "problem": "firecracker has at most 32"}]
        made = await http.post(
            "/v1/desktops", json={"name": "slow", "runtime": "firecracker", "vcpus": 32, "rates": rates}
        )
        assert made.status_code == 201, made.text
    assert made.json()["rates"] == rates
    assert c.host.named("slow").spec.rates.to_json() == rates


@pytest.mark.parametrize("body", ["", "[]", "nonsense", '"x"', '{"name":', '{"vcpus": 1e400}', "null"])
@against()
async def test_odd_bodies(c: Running, body: str) -> None:
    async with c.http() as http:
        answer = await http.post("/v1/desktops", content=body)
    assert answer.status_code == (201 if body == "" else 422), answer.text


@against()
async def test_a_key_makes_one_desktop(c: Running) -> None:
    async with c.http(headers={"Idempotency-Key": "k1"}) as http:
        answers = [await http.post("/v1/desktops", json={"name": "one"}) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        other = await http.post("/v1/desktops", json={"name": "two"})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


@against()
async def test_lists_go_by_pages_newest_first(c: Running) -> None:
    async with c.http() as http:
        for number in range(5):
            assert (await http.post("/v1/desktops", json={"name": f"n{number}"})).status_code == 201
        names, cursor = [], None
        while True:
            page = (
                await http.get("/v1/desktops", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            ).json()
            names += [item["name"] for item in page["items"]]
            if (cursor := page["next"]) is None:
                break
        assert names == ["n4", "n3", "n2", "n1", "n0"]
        assert (await http.get("/v1/desktops?cursor=nonsense")).status_code == 422


@against()
async def test_a_name_belongs_to_one(c: Running) -> None:
    async with c.http() as http:
        assert (await http.post("/v1/desktops", json={"name": "one"})).status_code == 201
        again = await http.post("/v1/desktops", json={"name": "one"})
        assert (again.status_code, again.json()["code"]) == (409, "name_taken")
        assert (await http.post("/v1/desktops", json={"name": "two"})).status_code == 201
        assert (await http.patch("/v1/desktops/two", json={"name": "one"})).status_code == 409
        renamed = await http.patch("/v1/desktops/two", json={"name": "three", "labels": {"a": "b"}})
        assert (renamed.json()["name"], renamed.json()["labels"]) == ("three", {"a": "b"})
        assert (await http.patch("/v1/desktops/three", json={"vcpus": 4})).status_code == 422


@against()
async def test_a_runtime_that_does_not_work_here(c: Running) -> None:
    async with c.http() as http:
        answer = await http.post("/v1/desktops", json={"runtime": "firecracker"})
        assert (answer.status_code, answer.json()["code"]) == (422, "runtime_unavailable")
        assert answer.json()["hint"] == "use a host with KVM"
        c.host.runtimes["qemu"] = {"works": True, "isolation": "vm", "detail": "", "hint": ""}
        assert (await http.post("/v1/desktops", json={})).json()["isolation"] == "vm"
        c.host.runtimes = {}
        assert (await http.post("/v1/desktops", json={})).json()["code"] == "no_runtime"
        c.host.images = []
        assert (await http.post("/v1/desktops", json={"image": "other"})).status_code == 503


@against()
async def test_the_screen_is_the_images_unless_it_is_wished(c: Running) -> None:
    c.host.images[0]["screen"] = {"width": 1600, "height": 900}
    wished = {"width": 1024, "height": 768}
    async with c.http() as http:
        for wish, screen in (({}, {"width": 1600, "height": 900}), ({"screen": wished}, wished)):
            made = await http.post("/v1/desktops", json=wish)
            assert made.json()["screen"] == screen


@against()
async def test_images_by_name_or_id(c: Running) -> None:
    async with c.http() as http:
        answer = await http.post("/v1/desktops", json={"image": "missing"})
        assert answer.status_code == 422
        assert IMAGE in answer.json()["hint"]
        for ref in ("default", IMAGE):
            assert (await http.post("/v1/desktops", json={"image": ref})).json()["image"] == IMAGE
        assert [image["id"] for image in (await http.get("/v1/images")).json()["items"]] == [IMAGE]
        assert (await http.delete(f"/v1/images/{IMAGE}")).status_code == 409
        built = [json.loads(line) for line in (await http.post("/v1/images", json={})).text.splitlines()]
        assert built[-1]["image"] == IMAGE
        bad = [
            json.loads(line)
            for line in (await http.post("/v1/images", json={"recipe": "x"})).text.splitlines()
        ]
        assert bad[-1]["error"]["code"] == "not_found"


@against()
async def test_a_start_that_fails_says_why_and_can_be_tried_again(c: Running) -> None:
    c.host.hold_start = True
    async with c.sdk() as oriel:
        desktop = await oriel.desktops.create("mine", wait=False)
        await c.until("mine", "starting")
        c.host.named("mine").fail_start = LaunchError("exit code 1: machine", hint="look at it")
        c.host.named("mine").hold.set()
        with pytest.raises(LaunchError, match="exit code 1: machine"):
            await desktop.wait_ready(deadline_s=10)
        error = (await c.state("mine"))["error"]
        assert error["hint"] == "look at it"
        assert error["console"] == "fake console\n"
        assert (await desktop.start(deadline_s=10)).state == "running"
        assert (await c.state("mine"))["error"] is None


@against()
async def test_no_space_on_the_host(c: Running) -> None:
    c.host.fail_create = NoSpaceError("the disk is full", hint="free some")
    async with c.http() as http:
        assert (await http.post("/v1/desktops", json={"name": "mine"})).status_code == 201
        assert (await c.until("mine", "failed"))["error"]["code"] == "no_space"
        assert (await http.delete("/v1/desktops/mine")).status_code == 204


@against(disk_reserve_mib=1 << 30)
async def test_a_host_without_room_takes_no_desktop(c: Running) -> None:
    async with c.http() as http:
        answer = await http.post("/v1/desktops", json={})
        assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
        assert (await http.get("/v1/desktops")).json()["items"] == []


@against()
async def test_a_host_that_is_away_is_said_and_comes_back(c: Running) -> None:
    await c.desktop("mine")
    await c.host.close()
    async with c.http() as http:
        for answer in (
            await http.post("/v1/desktops", json={}),
            await http.get("/readyz"),
            await http.get("/v1/images"),
        ):
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "hostd" in answer.json()["hint"]
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/v1/desktops")).status_code == 200
        deleted = await http.delete("/v1/desktops/mine")
        assert deleted.status_code == 503
        assert (await c.state("mine"))["state"] == "deleting"
        await c.host.open()
        assert (await http.get("/readyz")).status_code == 200
        async with asyncio.timeout(10):
            while (await http.get("/v1/desktops/mine")).status_code != 404:
                await asyncio.sleep(0.1)
    assert c.host.desktops == {}


@against()
async def test_exec_and_what_it_says(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.http() as http:

        async def run(**body: object) -> dict:
            answer = await http.post("/v1/desktops/mine/exec", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        said = await run(argv=["echo", "hé"])
        assert (said["exit_code"], said["stdout"], said["stderr"]) == (0, "hé\n", "")
        said = await run(argv=["false"])
        assert (said["exit_code"], said["stderr"]) == (1, "no�\n")
        assert (await run(argv=["cat"], stdin="in"))["stdout"] == "in"
        assert (await run(argv=["env"], env={"A": "b"}))["stdout"] == "A=b\n"
        late = await run(argv=["sleep", "30"], timeout_s=0.2)
        assert late["timed_out"]
        flood = await run(argv=["flood", "200"])
        assert flood["truncated"]
        assert len(flood["stdout"]) == 8 << 20
        assert (await http.post("/v1/desktops/mine/exec", json={"argv": []})).status_code == 422
        desktop.state = State.STOPPED
    assert "user" not in str(desktop.agent.asked)


@against()
async def test_files(c: Running) -> None:
    desktop = await c.desktop("mine")
    path = "/home/user/ä b.txt"
    async with c.http() as http:
        url = "/v1/desktops/mine/files"
        assert (
            await http.put(url, params={"path": path, "mode": "600"}, content=b"known size")
        ).status_code == 204
        assert desktop.agent.asked[-1] == ("file_write", {"path": path, "size": 10, "mode": 0o600})

        async def pieces():
            for _ in range(40):
                yield b"y" * 65536

        assert (await http.put(url, params={"path": "/big"}, content=pieces())).status_code == 204
        assert len((await http.get(url, params={"path": "/big"})).content) == 40 * 65536
        got = await http.get(url, params={"path": path})
        assert got.content == b"known size"
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.txt"
        listed = (await http.get(url, params={"path": "/home/user", "list": 1})).json()
        assert [entry["name"] for entry in listed["entries"]] == ["ä b.txt"]
        assert (await http.delete(url, params={"path": path})).status_code == 204
        assert (await http.get(url, params={"path": path})).status_code == 404
        assert (await http.put(url, params={"path": path, "mode": "rwx"}, content=b"")).status_code == 422


@against()
async def test_the_computer(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.sdk() as oriel:
        computer = (await oriel.desktop("mine")).computer
        assert (await computer.screenshot()).startswith(b"\x89PNG")
        await computer.click(10, 20, button="right", count=2)
        assert desktop.screen.done == [
            ("move", 10, 20), *[("button", 3, True), ("button", 3, False)] * 2,
        ]  # fmt: skip
        assert await computer.cursor() == (10, 20)
        await computer.key("ctrl+l")
        assert desktop.screen.done[-4:] == [
            ("key", 0xFFE3, True), ("key", 0x6C, True), ("key", 0x6C, False), ("key", 0xFFE3, False),
        ]  # fmt: skip
        await computer.drag(0, 0, 120, 60)
        assert desktop.screen.done[-2:] == [("move", 120, 60), ("button", 1, False)]
        await computer.scroll(1, 2, dy=-3)
        assert desktop.screen.done[-1] == ("wheel", 0, -3)
        await computer.set_clipboard("€")
        assert await computer.clipboard() == "€"


@against()
async def test_the_way_out(c: Running) -> None:
    password = "pa55-canary"
    desktop = await c.desktop("mine")
    async with c.http() as http:
        url = f"http://user:{password}@203.0.113.5:10001"
        made = await http.post("/v1/proxies", json={"name": "p1", "url": url})
        assert made.status_code == 201
        assert (made.json()["url"], made.json()["has_password"]) == ("http://203.0.113.5:10001", True)
        changed = await http.patch(
            "/v1/desktops/mine/egress", json={"proxy": "p1", "deny": ["*.example.com"]}
        )
        assert (changed.json()["proxy"], changed.json()["deny"]) == ("p1", ["*.example.com"])
        assert desktop.egress is not None
        assert [upstream.reveal() for upstream in desktop.egress.upstreams] == [url]
        assert desktop.egress.policy.deny == ("*.example.com",)
        assert (await http.get("/v1/desktops/mine/egress")).json()["exit_ip"] == "203.0.113.7"
        faults = (
            await http.patch("/v1/desktops/mine/egress", json={"proxy": "none-such", "allow": ["exa mple"]})
        ).json()
        assert {fault["field"] for fault in faults["faults"]} == {"proxy", "allow.0"}
        assert (await http.delete("/v1/proxies/p1")).status_code == 409
        seen = [made.text, (await http.get("/v1/proxies")).text, (await http.get("/v1/proxies/p1")).text,
                (await http.get("/v1/audit")).text, (await http.get("/v1/desktops/mine")).text]  # fmt: skip
        bad = await http.post("/v1/proxies", json={"name": "p2", "url": f"gopher://user:{password}@host"})
        assert bad.status_code == 422
        assert password not in "".join([*seen, bad.text])
    for file in c.home.controller.rglob("*"):
        assert not file.is_file() or password.encode() not in file.read_bytes(), file
    assert stat.S_IMODE(c.home.secret_key.stat().st_mode) == 0o600


@against()
async def test_events_are_replayed_from_any_point(c: Running) -> None:
    await c.desktop("mine")
    async with c.sdk() as oriel:
        desktop = await oriel.desktop("mine")

        async def until_running(after: int) -> list[int]:
            seqs = []
            async for event in desktop.events(after=after):
                seqs.append(event.seq)
                if event.kind == "state.running":
                    break
            return seqs

        everything = await until_running(0)
        assert everything == sorted(set(everything))
        assert await until_running(everything[3]) == everything[4:]

        seen: list[str] = []

        async def follow() -> None:
            async for event in desktop.events(after=everything[-1]):
                seen.append(event.kind)

        following = asyncio.create_task(follow())
        async with asyncio.timeout(10):
            await desktop.delete()
            # The stream of one desktop ends with it.
            await following
        assert seen[0] == "state.deleting"
        assert seen[-1] == "desktop.gone"


@against(still_interval_s=0.2)
async def test_stills_are_taken_while_looked_at_and_outlive_the_desktop_running(c: Running) -> None:
    desktop = await c.desktop("mine")
    async with c.http() as http:
        first = await http.get("/v1/desktops/mine/still")
        assert first.content.startswith(b"\x89PNG")
        same = await http.get("/v1/desktops/mine/still", headers={"If-None-Match": first.headers["etag"]})
        assert same.status_code == 304
        await desktop.screen.note(("key", 1, True))
        async with asyncio.timeout(10):
            while (await http.get("/v1/desktops/mine/still")).headers["etag"] == first.headers["etag"]:
                await asyncio.sleep(0.05)
        await asyncio.gather(*c.parts.stills._taking.values())  # the last look may have asked for another
        asked = len(desktop.agent.asked)
        await asyncio.sleep(0.5)  # more than twice the interval
        assert len(desktop.agent.asked) == asked, "nobody looks, and still it is taken"
        await http.post("/v1/desktops/mine/stop")
        await c.stop()
    await c.start()
    async with c.http() as http:
        assert (await http.get("/v1/desktops/mine/still")).content.startswith(b"\x89PNG")
        await http.delete("/v1/desktops/mine")
    assert list(c.home.stills.iterdir()) == []


@against()
async def test_people_tokens_and_the_audit_trail(c: Running) -> None:
    token = await c.person("ann")
    async with c.http() as admin, c.http(token) as ann:
        assert (await ann.get("/v1/session")).json()["role"] == "user"
        made = (
            await ann.post("/v1/tokens", json={"name": "narrow", "scopes": ["read"], "expires_in_s": 3600})
        ).json()
        assert made["scopes"] == ["read"]
        listed = (await ann.get("/v1/tokens")).json()["items"]
        assert {item["name"] for item in listed} == {"test", "narrow"}
        assert "token" not in listed[0]
        async with c.http(made["token"]) as narrow:
            assert (await narrow.get("/v1/desktops")).status_code == 200
            assert (await narrow.post("/v1/desktops", json={})).status_code == 403
            assert (await ann.delete(f"/v1/tokens/{made['id']}")).status_code == 204
            assert (await narrow.get("/v1/desktops")).status_code == 401
        short = (await ann.post("/v1/tokens", json={"name": "short", "expires_in_s": 1})).json()["token"]
        async with c.http(short) as brief, asyncio.timeout(30):
            while (await brief.get("/v1/desktops")).status_code == 200:
                await asyncio.sleep(0.1)
        assert (await admin.delete("/v1/users/admin")).status_code == 409
        assert (await admin.delete("/v1/users/ann")).status_code == 204
        assert (await ann.get("/v1/desktops")).status_code == 401
        trail = (await admin.get("/v1/audit")).json()["items"]
    actions = {(entry["actor"], entry["action"], entry["outcome"]) for entry in trail}
    assert ("admin", "add_user", "201") in actions
    assert ("ann", "create_token", "201") in actions
    assert any(entry["action"] == "create_desktop" and entry["outcome"] == "403" for entry in trail)


@against()
async def test_no_error_is_without_a_document(c: Running) -> None:
    async with c.http() as http:
        for answer in (
            await http.get("/v1/nothing"), await http.put("/v1/desktops"), await http.post("/"),
            await http.get("/nothing"), await http.get("/v1/desktops/none"),
            await http.get("/v1/desktops?limit=x"), await http.get("/v1/desktops?limit=0"),
        ):  # fmt: skip
            assert answer.headers["content-type"] == "application/problem+json", answer.url
            document = answer.json()
            assert document["status"] == answer.status_code
            assert document["code"]
            assert document["detail"]
            assert document["instance"].endswith(answer.headers["x-request-id"])


@against()
async def test_the_unforeseen_is_one_neutral_sentence(c: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def explode() -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(c.parts.fleet, "images", explode)
    async with c.http() as http:
        answer = await http.get("/v1/images")
    assert answer.status_code == 500
    assert "1234" not in answer.text
    assert "error " in answer.json()["detail"]


@against()
async def test_a_proxy_that_answers_nothing_is_a_result(c: Running) -> None:
    async with c.http() as http:
        await http.post("/v1/proxies", json={"name": "dead", "url": "http://u:p@127.0.0.1:9"})
        answer = await http.post("/v1/proxies/dead/check")
    assert (answer.status_code, answer.json()["reachable"]) == (200, False)
    assert answer.json()["problem"]


@against()
async def test_status_pages_need_no_token_and_no_other_host(c: Running) -> None:
    await c.desktop("mine")
    async with c.http("") as http:
        assert 'oriel_desktops{state="running"} 1.0' in (await http.get("/metrics")).text
        schema = (await http.get("/openapi.json")).json()
        assert "/v1/desktops/{ref}/files" in schema["paths"]
        page = (await http.get("/docs")).text
        assert "/v1/desktops" in page
        assert "https://" not in page
        assert "mine" not in (await http.get("/metrics")).text
