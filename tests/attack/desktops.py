"""Real desktops under attack: what a test does inside of one, and to its keeper and gateway."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from oriel.client import AsyncOriel
from oriel.client.verify.chrome import Chrome
from oriel.model import wire
from tests.conftest import ROOT, Server
from tests.fakes.upstream import UpstreamProxy

PROBE = Path(__file__).with_name("guest_probe.py")
DEADLINE_S = 120.0


def until(found: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first true answer of `found`."""
    deadline = time.monotonic() + deadline_s
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)
    return answer


@dataclass
class Desktop:
    """One desktop of a real server, and a program in it that attacks as it is told."""

    server: Server
    name: str
    id: str
    runtime: str
    _probe: subprocess.Popen[str] | None = field(default=None)

    @property
    def root(self) -> Path:
        return self.server.home / "desktops" / self.id

    def oriel(self, *argv: str, check: bool = True, timeout: float = 300) -> str:
        """The output of a command in it, as its user."""
        return self.server.oriel("exec", self.name, "--", *argv, check=check, timeout=timeout).stdout

    def sh(self, script: str, *, check: bool = True, timeout: float = 300) -> str:
        """A script in a login shell of its user."""
        return self.oriel("bash", "-lc", script, check=check, timeout=timeout)

    def api(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.server.token}"}
        url = f"{self.server.url}/v1/desktops/{self.id}{path}"
        answer = httpx.request(method, url, json=body, headers=headers, trust_env=False, timeout=60)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def way_out(self, proxy: str, **more: object) -> dict[str, Any]:
        """In force when this returns."""
        policy = {"allow": [], "deny": []} | more
        return dict(self.api("PATCH", "/egress", {"proxy": proxy, **policy}))

    # -- inside

    def start_probe(self) -> None:
        text = PROBE.read_text()
        self.server.oriel(
            "exec", self.name, "--", "sh", "-c", "cat > /tmp/guest_probe.py", stdin=text, timeout=120
        )
        environment = {
            "PATH": os.environ["PATH"], "ORIEL_URL": self.server.url, "ORIEL_TOKEN": self.server.token,
        }  # fmt: skip
        self._probe = subprocess.Popen(
            [ROOT / ".venv/bin/oriel", "exec", self.name, "--", "sudo", "python3", "/tmp/guest_probe.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def stop_probe(self) -> None:
        if self._probe is not None:
            with self._probe as ending:
                assert ending.stdin is not None
                ending.stdin.close()
            self._probe = None

    def do(self, what: str, **arguments: Any) -> Any:
        """One act of the program in the guest; what it saw."""
        if self._probe is None:
            self.start_probe()
        assert self._probe is not None
        assert self._probe.stdin is not None
        assert self._probe.stdout is not None
        self._probe.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._probe.stdin.flush()
        line = self._probe.stdout.readline()
        assert line, "the program in the guest has ended"
        return json.loads(line)

    def ask_proxy(self, *lines: str) -> list[int]:
        """The statuses of requests in the guest's own words; 0 for a connection cut off."""
        requests = [f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" for line in lines]
        answers = self.do("proxy", requests=requests)
        return [int(text.split(" ", 2)[1]) if text.startswith("HTTP/1.1 ") else 0 for text in answers]

    def chrome(self, url: str, expression: str) -> Any:
        """What JavaScript in a page at `url` answers."""
        return asyncio.run(_evaluate(self, url, expression))

    # -- on the host

    def denied(self) -> dict[str, int]:
        return dict(self.api("GET", "/egress")["denied_by_reason"])

    def keeper(self) -> psutil.Process:
        return psutil.Process(json.loads((self.root / "keeper.json").read_text())["pid"])

    def machine(self) -> int:
        """The process id of the machine: of the container's manager, or the VMM."""
        socket = self.root / "keeper.sock"
        return int(asyncio.run(wire.call(wire.unix(socket), "inspect", {}))["machine"]["pid"])

    def gateway(self) -> psutil.Process:
        """The gateway that runs now."""

        def found() -> psutil.Process | None:
            for child in self.keeper().children():
                try:
                    if "oriel.egress" in child.cmdline():
                        return child
                except psutil.Error:
                    continue
            return None

        return until(found, "a gateway runs")  # type: ignore[no-any-return]


async def _evaluate(desktop: Desktop, url: str, expression: str) -> Any:
    async with AsyncOriel(desktop.server.url, desktop.server.token) as oriel:
        socket = await (await oriel.desktop(desktop.name)).cdp()
        async with socket, asyncio.timeout(DEADLINE_S):
            chrome = Chrome(socket)
            made = await chrome.call("Target.createTarget", {"url": url})
            wanted = {"targetId": made["targetId"], "flatten": True}
            session = str((await chrome.call("Target.attachToTarget", wanted))["sessionId"])
            while not ((state := await chrome.state_of(session)).href.startswith(url) and state.complete):
                await asyncio.sleep(0.1)
            asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
            answer = await chrome.call("Runtime.evaluate", asked, session=session)
            await chrome.call("Target.closeTarget", {"targetId": made["targetId"]})
            return answer["result"].get("value")


@dataclass
class Provider:
    """A provider's proxy, registered with the server under `name`."""

    server: Server
    name: str
    proxy: UpstreamProxy

    def register(self) -> None:
        self.server.oriel("proxy", "add", self.name, stdin=self.proxy.url + "\n")
