"""Requests that nobody would think of, made from the API's own description, as each role.

No answer may be a failure of ours, and none may differ from what the description says: status, media type,
body, rights. ORIEL_FUZZ_EXAMPLES sets how many are tried of each route.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS

from tests.fakes.controller import Running, controller

EXAMPLES = int(os.environ.get("ORIEL_FUZZ_EXAMPLES", "4"))
DEADLINE_S = 60
# Half of all requests are about something that is there.
KNOWN = {"ref": "mine", "share_id": "s-none", "token_id": "t-none", "image_id": "default@0123456789ab"}


@dataclass
class Served:
    """A controller that serves in a thread of its own."""

    tokens: dict[str, str] = field(default_factory=dict)
    url: str = ""
    ready: threading.Event = field(default_factory=threading.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop | None = None
    running: Running | None = None
    failed: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.failed = error
        finally:
            self.ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="of-") as directory:
            async with controller(Path(directory), requests_per_second=100000, request_burst=100000) as c:
                # Guessing is slowed down, which other tests show; here it would hide every other answer.
                c.parts.limits.check_failures = lambda *_: None  # type: ignore[method-assign]
                self.running, self.url = c, c.url
                self.tokens = {"admin": c.token, "user": await c.person("ann")}
                self.ready.set()
                await self.stop.wait()

    def in_loop(self, work: Any) -> Any:
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()
    thread = threading.Thread(target=served.run)
    thread.start()
    served.ready.wait(DEADLINE_S)
    try:
        if served.failed is not None:
            raise served.failed
        yield served
    finally:
        if served.loop is not None and not served.loop.is_closed():
            served.loop.call_soon_threadsafe(served.stop.set)
        thread.join(DEADLINE_S)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as made:
        yield made


@schemathesis.hook
def map_path_parameters(_context: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    if not parameters or sum(map(ord, "".join(map(str, parameters.values())))) % 2:
        return parameters
    return {name: KNOWN.get(name, value) for name, value in parameters.items()}


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """A stream of events without an end would be waited for."""
    if context.operation.path.endswith("/events"):
        return {**(query or {}), "follow": "false"}
    return query


def operations(served: Served) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("role", ["admin", "user"])
def test_nothing_fails_and_everything_is_as_described(served: Served, role: str) -> None:
    tried, wrong = 0, []
    for operation in operations(served):
        if "501" in operation.definition.raw["responses"]:
            continue  # what it says is that no runtime can do that yet
        served.in_loop(prepare(served, f"fuzz-{role}", served.tokens[role]))
        try:
            tried += try_out(operation, served.tokens[role])
        except BaseExceptionGroup as failures:
            wrong += [f"{operation.label}: {one}" for one in failures.exceptions]
    assert not wrong, "\n\n".join(wrong)
    assert tried > 50 * EXAMPLES


async def prepare(served: Served, name: str, token: str) -> None:
    """A desktop to be there, whatever the last route did to it."""
    c = served.running
    assert c is not None
    c.parts.draining.on = False
    KNOWN["ref"] = name
    async with c.http(token) as http:
        found = await http.get(f"/v1/desktops/{name}")
        if found.status_code == 404:
            await http.post("/v1/desktops", json={"name": name})
        elif found.json()["state"] in ("stopped", "failed"):
            await http.post(f"/v1/desktops/{name}/start")
    await c.until(name, "running", "paused")


def try_out(operation: Any, token: str) -> int:
    """How many were tried. An ExceptionGroup of what was not as described."""
    tried = 0
    # A 422 may say what no schema can: a proxy that is not there, a path that is no file's.
    checks = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate],
    )  # fmt: skip
    def send(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(
            headers={"Authorization": f"Bearer {token}"}, timeout=DEADLINE_S, checks=checks
        )

    send()
    return tried
