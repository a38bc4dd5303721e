"""Chrome's DevTools protocol, as little as telling what a page shows needs."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from oriel.client.aio.transport import Socket
from oriel.model.errors import UnavailableError, WireError

__all__ = ["Chrome", "PageState"]

DEADLINE_S = 30.0
# Wakes us whenever a page may have become what we wait for.
_PAGE_EVENTS = ("Page.frameNavigated", "Page.loadEventFired", "Page.frameStoppedLoading")
_STATE = """JSON.stringify({
  ready: document.readyState, href: location.href, title: document.title,
  status: (performance.getEntriesByType("navigation")[0] || {}).responseStatus || 0 })"""


@dataclass(frozen=True)
class PageState:
    """What one page shows. `typed`: the URL as it was typed; `status`: the HTTP status, 0 if unknown."""

    typed: str
    href: str
    title: str
    status: int
    complete: bool


class Chrome:
    """One conversation with the browser, for one task. Answers are matched by id, events kept in order."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._last_id = 0
        self._events: deque[dict[str, Any]] = deque()

    async def attach_pages(self) -> list[str]:
        """Attach to every open page; their session ids."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        sessions = []
        for target in targets:
            if target.get("type") == "page":
                wanted = {"targetId": target["targetId"], "flatten": True}
                session = str((await self.call("Target.attachToTarget", wanted))["sessionId"])
                await self.call("Page.enable", session=session)
                sessions.append(session)
        return sessions

    async def state_of(self, session: str) -> PageState:
        history = await self.call("Page.getNavigationHistory", session=session)
        entry = history["entries"][history["currentIndex"]]
        asked = {"expression": _STATE, "returnByValue": True}
        answer = await self.call("Runtime.evaluate", asked, session=session)
        state = json.loads(answer["result"].get("value") or "{}")
        return PageState(
            typed=str(entry.get("userTypedURL", "")),
            href=str(state.get("href", "")),
            title=str(state.get("title", "")),
            status=int(state.get("status", 0)),
            complete=state.get("ready") == "complete",
        )

    async def page_event(self) -> None:
        """Until a page navigated or loaded. The caller sets the deadline."""
        while True:
            event = self._events.popleft() if self._events else await self._receive()
            if event.get("method") in _PAGE_EVENTS:
                return

    async def call(
        self, method: str, params: dict[str, Any] | None = None, *, session: str = ""
    ) -> dict[str, Any]:
        """WireError if Chrome refuses, UnavailableError if it does not answer."""
        self._last_id += 1
        request = {"id": self._last_id, "method": method, "params": params or {}}
        if session:
            request["sessionId"] = session
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._socket.send(json.dumps(request))
                while (answer := await self._receive()).get("id") != self._last_id:
                    self._events.append(answer)
        except TimeoutError as error:
            raise UnavailableError(f"Chrome did not answer {method} within {DEADLINE_S:g} s") from error
        if "error" in answer:
            raise WireError(f"Chrome refused {method}: {answer['error'].get('message', '')}")
        return dict(answer.get("result", {}))

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive()
        if message is None:
            raise UnavailableError("Chrome closed its DevTools connection", hint="did it crash or restart?")
        try:
            answer = json.loads(message)
        except ValueError as error:
            raise WireError("Chrome's DevTools connection carries something that is not JSON") from error
        if not isinstance(answer, dict):
            raise WireError("Chrome's DevTools connection carries something that is no message")
        return answer
