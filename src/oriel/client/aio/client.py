"""The way in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import inf
from pathlib import Path
from typing import Any

from oriel.client.access import Access, find_access
from oriel.client.aio.catalog import Collection, Images, Proxies, Templates, Tokens, Users
from oriel.client.aio.desktop import Desktop, Desktops, events_of
from oriel.client.aio.transport import Transport
from oriel.client.values import Page
from oriel.model.events import Event
from oriel.model.secret import Secret

RENEW_DEADLINE_S = 1800.0

__all__ = ["AsyncOriel"]


class AsyncOriel:
    """A controller. Without arguments it is found by ORIEL_URL and ORIEL_TOKEN, else in the home.

    An async context manager; `aclose` ends its connections.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | Secret | None = None,
        *,
        home: Path | None = None,
        deadline_s: float = 60,
    ) -> None:
        if url is not None and token is not None:
            access = Access(url, token if isinstance(token, Secret) else Secret(token))
        elif url is None and token is None:
            access = find_access(home)
        else:
            raise TypeError("url and token belong together: give both or neither")
        self.access = access
        self._transport = Transport(access, deadline_s=deadline_s)
        self.desktops = Desktops(self._transport)
        self.proxies = Proxies(self._transport, "/v1/proxies")
        self.images = Images(self._transport, "/v1/images")
        self.users = Users(self._transport, "/v1/users")
        self.tokens = Tokens(self._transport, "/v1/tokens")
        self.templates = Templates(self._transport, "/v1/templates")
        self.snapshots = Collection(self._transport, "/v1/snapshots")
        self.pool = Collection(self._transport, "/v1/pool")

    def __repr__(self) -> str:
        return f"AsyncOriel({self.access.url!r})"

    async def __aenter__(self) -> AsyncOriel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def desktop(self, name_or_id: str) -> Desktop:
        """NotFoundError if there is none, or it is not the caller's."""
        return await self.desktops.get(name_or_id)

    async def audit(self, **search: str | None) -> list[dict[str, Any]]:
        """Who did what, oldest first: by `actor`, `action`, `target`, `since`, `until` (RFC 3339)."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            asked = search | {"limit": "1000", "cursor": cursor}
            page = Page.of(await self._transport.json("GET", "/v1/audit", params=asked))
            items += page.items
            cursor = page.next
            if cursor is None:
                return items[::-1]

    async def host(self) -> dict[str, Any]:
        """The controller's host: version, runtimes proven, checks."""
        return dict(await self._transport.json("GET", "/v1/host"))

    async def drain(self, *, on: bool = True) -> dict[str, Any]:
        """Nothing new begins on the host, or does again. `under_way`: how many desktops are being changed."""
        return dict(await self._transport.json("PUT", "/v1/host/drain", body={"on": on}))

    async def renew(self) -> dict[str, Any]:
        """Replace every keeper by one of the installed version; their machines run on."""
        return dict(await self._transport.json("POST", "/v1/host/renew", deadline_s=RENEW_DEADLINE_S))

    async def events(
        self, *, after: int | None = None, timeout_s: float = inf
    ) -> AsyncGenerator[Event, None]:
        """Of every desktop the caller may see; `after` as in `Desktop.events`."""
        stream = events_of(self._transport, "/v1/events", after=after, timeout_s=timeout_s)
        async with aclosing(stream) as events:
            async for event in events:
                if event is not None:
                    yield event

    async def kept_events(self) -> list[Event]:
        """All of them up to now, as far as they are kept."""
        stream = events_of(self._transport, "/v1/events", after=0, timeout_s=30, follow=False)
        async with aclosing(stream) as events:
            return [event async for event in events if event is not None]
