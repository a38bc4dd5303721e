"""Requests made to hurt: from other sites, in headers, in paths, too long, too many."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.controller import Running, against

TRAVERSALS = [
    "../../etc/shadow",
    "/etc/../etc/passwd",
    "..%2f..%2fx",
    "/a\nb",
    "/a\r\nX-Evil: 1",
    "/\u202egpj.exe",
    "//x",
    '/a"b',
]


@pytest.mark.parametrize("path", TRAVERSALS)
@against()
async def test_a_file_s_path_reaches_the_guest_untouched_and_nothing_else(c: Running, path: str) -> None:
    """Which file that is, the guest's agent decides, with the rights of the guest's user."""
    desktop = await c.desktop("mine")
    desktop.agent.files[path] = b"content"
    async with c.http() as http:
        answer = await http.get("/v1/desktops/mine/files", params={"path": path})
    assert answer.content == b"content"
    assert desktop.agent.asked == [("file_read", {"path": path})]
    assert "x-evil" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/assets/../../pyproject.toml", "/assets/%2e%2e/%2e%2e/pyproject.toml",
     "/..%2f..%2fpyproject.toml", "/assets/..%5c..%5cpyproject.toml", "/%00", "/index.html%00.js",
     "//etc/passwd", "/assets/", "/assets", "/.env"],
)  # fmt: skip
@against()
async def test_the_page_s_files_end_at_the_build(c: Running, path: str) -> None:
    host, port = c.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split(b" ", 2)[1] in (b"404", b"400")
    assert b"requires-python" not in answer
    assert b"root:" not in answer


@against()
async def test_another_site_changes_nothing_with_the_page_s_cookie(c: Running) -> None:
    await c.desktop("mine")
    async with c.http("") as http:
        signed_in = await http.post("/v1/session", json={"token": c.token}, headers={"Origin": c.url})
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await http.get("/v1/desktops")).status_code == 200
        for origin in ("https://evil.example", "null", None):
            headers = {"Origin": origin} if origin else {}
            for answer in (
                await http.post("/v1/desktops", json={"name": "planted"}, headers=headers),
                await http.delete("/v1/desktops/mine", headers=headers),
                await http.post("/v1/desktops/mine/tickets", json={}, headers=headers),
                await http.delete("/v1/session", headers=headers),
            ):
                assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
        ours = {"Origin": c.url}
        assert (await http.post("/v1/desktops/mine/tickets", json={}, headers=ours)).status_code == 201
        assert (await http.delete("/v1/session", headers=ours)).status_code == 204
        http.cookies.set("oriel", cookie.partition("=")[2].partition(";")[0])
        assert (await http.get("/v1/session")).status_code == 401


@against()
async def test_another_site_signs_nobody_in(c: Running) -> None:
    async with c.http("") as http:
        answer = await http.post(
            "/v1/session", json={"token": c.token}, headers={"Origin": "https://evil.example"}
        )
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@against()
async def test_a_session_ends_with_its_token(c: Running) -> None:
    ann = await c.person("ann")
    async with c.http("") as http, c.http(ann) as by_token:
        await http.post("/v1/session", json={"token": ann})
        assert (await http.get("/v1/session")).json()["user"] == "ann"
        for item in (await by_token.get("/v1/tokens")).json()["items"]:
            await by_token.delete(f"/v1/tokens/{item['id']}")
        assert (await http.get("/v1/session")).status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example/path", "evil.example@x", "a b", "evil.example\\x", "[::1", "x" * 300, "evil.example#", ""],
)
@against()
async def test_a_forged_host_makes_no_link(c: Running, host: str) -> None:
    await c.desktop("mine")
    async with c.http(headers={"Host": host}) as http:
        answer = await http.get("/v1/desktops/mine")
    if answer.status_code == 200:
        assert answer.json()["viewer_url"] == f"{c.url}/desktops/mine"
    else:
        assert answer.status_code == 400


@against(body_limit_kib=16)
async def test_bodies_have_a_limit_announced_or_not(c: Running) -> None:
    async def pieces():
        for _ in range(64):
            yield b" " * 1024

    async with c.http() as http:
        for content in (b" " * 20000, pieces()):
            answer = await http.post("/v1/desktops", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert (await http.get("/v1/desktops")).json()["items"] == []


@against(upload_limit_mib=1)
async def test_uploads_have_a_limit_too(c: Running) -> None:
    desktop = await c.desktop("mine")

    async def pieces():
        for _ in range(40):
            yield b"x" * 65536

    async with c.http() as http:
        for content in (b"x" * (2 << 20), pieces()):
            answer = await http.put("/v1/desktops/mine/files", params={"path": "/x"}, content=content)
            assert answer.status_code == 413, answer.text
    assert desktop.agent.files == {}


@against(requests_per_second=1, request_burst=5)
async def test_too_many_requests_are_told_to_wait(c: Running) -> None:
    c.hold_time()
    async with c.http() as http:
        answers = [await http.get("/v1/desktops") for _ in range(10)]
    late = [answer for answer in answers if answer.status_code == 429]
    assert len(late) >= 4
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in late)
    assert late[0].json()["code"] == "busy"


@against()
async def test_guessing_tokens_is_slowed_down(c: Running) -> None:
    c.hold_time()
    async with c.http("oriel_guess") as http:
        codes = [(await http.get("/v1/session")).status_code for _ in range(40)]
        assert codes[0] == 401
        assert codes[-1] == 429
        assert (await http.post("/v1/session", json={"token": "x"})).status_code == 429


@against()
async def test_no_script_and_no_frame(c: Running) -> None:
    async with c.http() as http:
        for path in ("/", "/docs", "/v1/desktops", "/nothing"):
            headers = (await http.get(path)).headers
            policy = dict(
                part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'"
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name", ["<script>", "a/../b", "%0d%0aX: y", "a" * 64, "-a", "d-aaaaaaaaaa\n", "ünï", "a\x00"]
)
@against()
async def test_names_that_are_no_names(c: Running, name: str) -> None:
    async with c.http() as http:
        for path, body in (("/v1/desktops", {}), ("/v1/users", {}), ("/v1/proxies", {"url": "http://h:1"})):
            answer = await http.post(path, json={"name": name, **body})
            assert answer.status_code == 422, path
            assert answer.json()["faults"][0]["field"] == "name"


@against()
async def test_a_name_that_looks_like_an_id_takes_nobody_s_place(c: Running) -> None:
    ann, bob = await c.person("ann"), await c.person("bob")
    desktop = await c.desktop("annes", ann)
    async with c.http(bob) as http:
        await http.post("/v1/desktops", json={"name": desktop.spec.id})
    async with c.http(ann) as http:
        assert (await http.get(f"/v1/desktops/{desktop.spec.id}")).json()["name"] == "annes"


@pytest.mark.parametrize("header", ["Last-Event-ID", "Idempotency-Key"])
@against()
async def test_odd_headers(c: Running, header: str) -> None:
    async with c.http() as http:
        for value in ("-1", "9" * 400, "x\x7f", "ü"):
            headers = {header: value.encode("latin-1")}
            if header == "Last-Event-ID":
                answer = await http.get("/v1/events", headers=headers)
                assert answer.status_code in (400, 422), value
            else:
                answer = await http.post("/v1/desktops", headers=headers, json={"name": "Bad Name"})
                assert answer.status_code in (400, 422), value
