"""Signing on by OpenID Connect, against a certified provider that runs here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from oriel.controller.composition import Address
from tests.fakes.controller import Running, run_against
from tests.fakes.provider import Provider, provider, sign_on

BEGIN = "/v1/session/oidc"


@pytest.fixture(scope="module")
def port() -> int:
    """The provider must know where its people come back to before either side runs."""
    made = Address.open("127.0.0.1", 0)
    made.listener.close()
    return int(made.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def at(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    directory = tmp_path_factory.mktemp("provider")
    with provider(directory, f"http://127.0.0.1:{port}{BEGIN}/callback") as running:
        yield running


def settings(at: Provider, **more: Any) -> dict[str, Any]:
    given = {
        "oidc_issuer": at.issuer, "oidc_client_id": "oriel", "oidc_client_secret_file": at.secret_file,
        "oidc_title": "the test provider",
    }  # fmt: skip
    return given | more


@asynccontextmanager
async def browser(c: Running) -> AsyncIterator[httpx.AsyncClient]:
    """Cookies, no credentials; redirects are followed by hand, to look at each."""
    async with c.http("", headers={"Origin": c.url}) as http:
        yield http


def test_a_person_signs_on_and_is_the_same_one_next_time(at: Provider, port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http:
            ways = (await http.get("/v1/session/ways")).json()
            assert ways["oidc"] == {"title": "the test provider", "url": BEGIN}
            left = await http.get(BEGIN)
            cookie = left.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=lax" in cookie
            assert "code_challenge_method=S256" in left.headers["location"]
            back = await sign_on(http, f"{BEGIN}?path=/proxies", "Ann.Miller@corp")
            assert (back.status_code, back.headers["location"]) == (303, "/proxies")
            assert "samesite=strict" in back.headers["set-cookie"].lower()
            me = (await http.get("/v1/session")).json()
            assert (me["user"], me["role"]) == ("ann-miller", "user")
            assert (await http.post("/v1/desktops", json={"name": "mine"})).status_code == 201
        async with browser(c) as elsewhere, c.http() as admin:
            await sign_on(elsewhere, BEGIN, "Ann.Miller@corp")
            assert (await elsewhere.get("/v1/session")).json()["user"] == "ann-miller"
            people = (await admin.get("/v1/users")).json()["items"]
            assert [(one["name"], one["subject"]) for one in people] == [
                ("ann-miller", "Ann.Miller@corp"), ("admin", None),
            ]  # fmt: skip
            trail = [entry["action"] for entry in (await admin.get("/v1/audit")).json()["items"]]
            assert trail.count("sign_on") == 2

    run_against(test, settings(at), port)


def test_a_name_taken_at_the_provider_is_nobody_s_account_here(at: Provider, port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http:
            await sign_on(http, BEGIN, "admin")
            me = (await http.get("/v1/session")).json()
            assert (me["user"], me["role"]) == ("admin-2", "user")

    run_against(test, settings(at), port)


def test_where_accounts_are_added_by_hand_nobody_else_comes_in(at: Provider, port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http, c.http() as admin:
            back = await sign_on(http, BEGIN, "stranger")
            assert back.headers["location"] == "/#sign-on=nobody"
            assert (await http.get("/v1/session")).status_code == 401
            for name, status in (("bob", 201), ("bert", 409)):
                made = await admin.post("/v1/users", json={"name": name, "subject": "stranger"})
                assert made.status_code == status, made.text
            assert (await sign_on(http, BEGIN, "stranger")).headers["location"] == "/"
            assert (await http.get("/v1/session")).json()["user"] == "bob"
            await admin.patch("/v1/users/bob", json={"subject": ""})
            assert (await sign_on(http, BEGIN, "stranger")).headers["location"] == "/#sign-on=nobody"

    run_against(test, settings(at, oidc_role="none"), port)


def test_only_the_browser_that_left_comes_back_and_only_once(at: Provider, port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as ann, browser(c) as eve:
            code = await _callback(ann)
            # A link with somebody's code, opened by another browser: the victim would be signed in as Ann.
            assert (await eve.get(code)).headers["location"] == "/#sign-on=refused"
            await eve.get(BEGIN)
            assert (await eve.get(code)).headers["location"] == "/#sign-on=refused"
            assert (await eve.get("/v1/session")).status_code == 401
            trip = ann.cookies["oriel-trip"]
            assert (await ann.get(code)).headers["location"] == "/"
            ann.cookies.set("oriel-trip", trip)
            assert (await ann.get(code)).headers["location"] == "/#sign-on=refused"

    run_against(test, settings(at), port)


@pytest.mark.parametrize(
    "change",
    [(r"code=[^&]+", "code=other"), (r"state=[^&]+", "state=other"), (r"state=[^&]+&?", ""),
     (r"code=[^&]+&?", ""), (r"iss=[^&]+", "iss=https://evil.example"),
     (r"code=[^&]+", "error=access_denied")],
)  # fmt: skip
def test_an_answer_that_was_tampered_with(at: Provider, port: int, change: tuple[str, str]) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http:
            url = await _callback(http)
            forged = re.sub(*change, url)
            assert forged != url
            assert (await http.get(forged)).headers["location"] == "/#sign-on=refused"
            assert (await http.get("/v1/session")).status_code == 401

    run_against(test, settings(at), port)


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "evil", ""]
)
def test_nobody_is_sent_on_to_another_site(at: Provider, port: int, path: str) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http:
            back = await sign_on(http, str(httpx.URL(BEGIN, params={"path": path})), "ann")
            assert back.headers["location"] == "/"

    run_against(test, settings(at), port)


def test_whoever_changes_their_mind_is_told_so(at: Provider, port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http:
            back = await sign_on(http, BEGIN, "carl", consent=False)
            assert back.headers["location"] == "/#sign-on=refused"

    run_against(test, settings(at), port)


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:1", "/"])
def test_a_provider_that_does_not_answer_or_is_another(at: Provider, port: int, issuer: str) -> None:
    """The second calls itself by its name without the stroke: to OpenID that is another one."""

    async def test(c: Running) -> None:
        async with browser(c) as http:
            assert (await http.get(BEGIN)).headers["location"] == "/#sign-on=unavailable"
            assert (await http.get(f"{BEGIN}/callback?code=x")).headers["location"] == "/#sign-on=refused"

    run_against(test, settings(at, oidc_issuer=at.issuer + issuer if issuer == "/" else issuer), port)


def test_without_a_provider_there_is_none(port: int) -> None:
    async def test(c: Running) -> None:
        async with browser(c) as http, c.http() as admin:
            assert (await http.get("/v1/session/ways")).json()["oidc"] is None
            assert (await http.get(BEGIN)).status_code == 404
            assert (await admin.post("/v1/users", json={"name": "x", "subject": "y"})).status_code == 422

    run_against(test, {}, port)


async def _callback(http: httpx.AsyncClient) -> str:
    """The address by which the provider sends its people back, not opened yet."""
    opened = []

    async def stop(request: httpx.Request) -> None:
        if request.url.path.endswith("/callback"):
            opened.append(str(request.url))
            raise StopAsyncIteration

    http.event_hooks["request"].append(stop)
    with pytest.raises(StopAsyncIteration):
        await sign_on(http, BEGIN, "ann")
    http.event_hooks["request"].remove(stop)
    return opened[0]
