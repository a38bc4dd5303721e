"""The controller's column of the kill -9 matrix (bench.faults): killed at each step of what it was asked for.

hostd, keepers, namespaces and gateways are the real ones. The controller is a process of its own and is asked
by its API; as soon as the desktop's journal says the step, it is killed, and another one started. That must
bring the desktop to rest: what the API says is what the keeper says and what the host shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.faults_told import AT_REST, at_rest, told_truly, until
from oriel.host.layout import Home
from oriel.host.records import read_json

__all__ = ["Api", "api", "settled_by_the_next"]

ROOT = Path(__file__).resolve().parents[1]
READY_S = 120.0
FLAGS = (
    "--port", "0", "--pool-size", "0", "--load-limit", "0", "--memory-share-percent", "1",
    "--memory-reserve-mib", "0", "--requests-per-second", "10000", "--request-burst", "10000",
    "--keep-templates", "false",
)  # fmt: skip


@dataclass
class Api:
    """A controller over a home, and its administrator."""

    home: Home
    process: subprocess.Popen[bytes] | None = None
    http: httpx.AsyncClient | None = None

    async def launch(self) -> None:
        self.home.controller_record.unlink(missing_ok=True)
        command = [sys.executable, "-m", "oriel.controller", "--home", str(self.home.root), *FLAGS]
        with (self.home.root / "controller.out").open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT
            )
        async with asyncio.timeout(READY_S):
            while not await self._is_ready():
                assert self.process.poll() is None, (self.home.root / "controller.out").read_text()[-3000:]
                await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        record = read_json(self.home.controller_record)
        if record is None:
            return False
        await self.close()
        token = self.home.admin_token.read_text().strip()
        self.http = httpx.AsyncClient(
            base_url=record["url"], headers={"Authorization": f"Bearer {token}"},
            trust_env=False, timeout=READY_S,
        )  # fmt: skip
        with contextlib.suppress(httpx.TransportError):
            return (await self.http.get("/readyz")).status_code == 200
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def close(self) -> None:
        if self.http is not None:
            await self.http.aclose()
            self.http = None

    async def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        assert self.http is not None
        return await self.http.request(method, f"/v1/desktops{path}", json=body if method == "POST" else None)

    async def state(self, desktop_id: str) -> str:
        answer = await self.ask("GET", f"/{desktop_id}")
        return "gone" if answer.status_code == 404 else str(answer.json()["state"])

    async def until(self, desktop_id: str, holds: Callable[[str], bool]) -> str:
        async with asyncio.timeout(READY_S):
            while not holds(state := await self.state(desktop_id)):
                await asyncio.sleep(0.02)
        return state


@contextlib.asynccontextmanager
async def api(host: Any) -> AsyncIterator[Api]:
    """A controller over that host's home, with an image of which fake machines are made."""
    image = host.home.image("well@000000000000")
    image.mkdir(parents=True, exist_ok=True)
    (image / "manifest.json").write_text(json.dumps({"created_at": "2026-01-01T00:00:00Z"}))
    made = Api(host.home)
    try:
        await made.launch()
        yield made
    finally:
        await made.close()
        if made.process is not None:
            made.kill()


async def settled_by_the_next(host: Any, controller: Api, verb: str, point: str) -> str:
    """The state it came to rest in; "-" if it never came there. AssertionError if it lies or leaks."""
    keepers: Any = importlib.import_module("tests.integration.keepers")
    inventory: Any = importlib.import_module("tests.inventory").Inventory
    made = [await _create(controller)] if verb != "run" else []
    asked: asyncio.Task[Any] | None = None
    try:
        if made:
            await _prepare(controller, made[0], verb)
        desktop_id, since = made[0] if made else "", 0
        if verb in ("run", "fork"):
            desktop_id = await _create(controller, origin=made[0] if made else "")
            made.append(desktop_id)
        else:
            since = _keeper(keepers, host, desktop_id).events()[-1].seq
            asked = asyncio.create_task(_ask(controller, verb, desktop_id))
        await _exists(host, desktop_id, verb)
        if await until(_keeper(keepers, host, desktop_id), point, since=since) is None:
            return "-"
        controller.kill()
        await controller.launch()
        state = await controller.until(desktop_id, lambda state: state in AT_REST)
        actual = await at_rest(host, desktop_id)
        # The journal may have said more meanwhile: the follower is a moment behind it.
        state = await controller.until(desktop_id, lambda told: told == actual)
        told_truly(actual, inventory.take().of(desktop_id))
        return state
    finally:
        if asked is not None:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        for one in reversed(made):
            answer = await controller.ask("DELETE", f"/{one}")
            assert answer.status_code in (204, 404), answer.text
            assert not (left := inventory.take().of(one)), left


def _keeper(keepers: Any, host: Any, desktop_id: str) -> Any:
    return keepers.Keeper(host.home, replace(keepers.new_spec(), id=desktop_id))


async def _exists(host: Any, desktop_id: str, verb: str) -> None:
    """Its journal is there: a new one's comes a moment after the answer."""
    async with asyncio.timeout(READY_S):
        while verb in ("run", "fork") and not host.home.desktop(desktop_id).journal.exists():
            await asyncio.sleep(0.002)


async def _create(controller: Api, origin: str = "") -> str:
    path, body = (f"/{origin}/fork", {}) if origin else ("", {"memory_mib": 768, "runtime": "container"})
    answer = await controller.ask("POST", path, **body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _prepare(controller: Api, desktop_id: str, verb: str) -> None:
    state = await controller.until(desktop_id, lambda state: state in ("running", "failed"))
    assert state == "running"
    before = {"resume": "pause", "start": "stop"}.get(verb)
    if before is not None:
        assert (await controller.ask("POST", f"/{desktop_id}/{before}")).status_code == 200


async def _ask(controller: Api, verb: str, desktop_id: str) -> None:
    """It is killed while it answers."""
    with contextlib.suppress(httpx.TransportError):
        if verb == "delete":
            await controller.ask("DELETE", f"/{desktop_id}")
        else:
            await controller.ask("POST", f"/{desktop_id}/{verb}")
