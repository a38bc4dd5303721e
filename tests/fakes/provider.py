"""A real OpenID provider (tests/provider) on a port of its own, and a person who signs on at it."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

PROGRAM = Path(__file__).resolve().parents[1] / "provider/provider.mjs"
NODE = shutil.which("node") or str(Path(__file__).resolve().parents[2] / ".venv/node/node")


@dataclass(frozen=True)
class Provider:
    """Where it is, and what it shares with its one client, `oriel`."""

    issuer: str
    secret_file: Path


@contextmanager
def provider(directory: Path, *redirect_uris: str) -> Iterator[Provider]:
    """It runs as long as the block."""
    secret_file = directory / "client-secret"
    secret_file.write_text(secrets.token_urlsafe(24))
    with (
        secret_file.open() as secret,
        (directory / "provider.log").open("w") as log,
        subprocess.Popen(
            [NODE, PROGRAM, *redirect_uris], stdin=secret, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said, (directory / "provider.log").read_text()
            yield Provider(json.loads(said)["issuer"], secret_file)
        finally:
            process.kill()


async def sign_on(
    browser: httpx.AsyncClient, start: str, name: str, *, consent: bool = True
) -> httpx.Response:
    """Follow the provider's pages from `start`, as `name`; the last answer, which is our own callback's."""
    answer = await browser.get(start)
    for _ in range(12):
        if answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["location"])
            if "/v1/session/oidc/callback" in target:
                return await browser.get(target)
            answer = await browser.get(target)
            continue
        answer = await _fill_in(browser, answer, name, consent=consent)
    raise AssertionError(f"the provider's pages do not end: {answer.url} {answer.status_code}")


async def _fill_in(
    browser: httpx.AsyncClient, page: httpx.Response, name: str, *, consent: bool
) -> httpx.Response:
    form = re.search(r'<form[^>]* action="([^"]+)"', page.text)
    kind = re.search(r'name="prompt" value="(\w+)"', page.text)
    assert form, page.text[:2000]
    assert kind, page.text[:2000]
    if kind[1] == "consent" and not consent:
        abort = re.search(r'href="([^"]+abort)"', page.text)
        assert abort, page.text[:2000]
        return await browser.get(urljoin(str(page.url), abort[1]))
    fields = {"prompt": kind[1]} | ({"login": name, "password": "any"} if kind[1] == "login" else {})
    return await browser.post(urljoin(str(page.url), form[1]), data=fields)
