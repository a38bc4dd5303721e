"""Who drives a desktop: the lease as a program sees it."""

from __future__ import annotations

from typing import Any

from oriel.client.aio.transport import Transport

__all__ = ["Control"]


class Control:
    """Each method returns `{viewers, holder, requests, you}`: who looks, whose id drives, whose ids ask to,
    and which of them this token is (not from `show`).

    Whatever is done through `computer` takes the lease by itself where it is free; StateError `not_driving`
    where somebody else drives.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/control"

    async def show(self) -> dict[str, Any]:
        return dict(await self._transport.json("GET", self._path))

    async def take(self) -> dict[str, Any]:
        """At once, whoever drives."""
        return await self._act("take")

    async def request(self) -> dict[str, Any]:
        """Ask whoever drives for it; it is taken at once if it is free."""
        return await self._act("request")

    async def withdraw(self) -> dict[str, Any]:
        """Ask no longer."""
        return await self._act("withdraw")

    async def give(self, to: str | None = None) -> dict[str, Any]:
        """Hand it to the viewer with this id; without one, let go of it. StateError if it is not ours."""
        return await self._act("give", to)

    async def _act(self, action: str, to: str | None = None) -> dict[str, Any]:
        body = {"action": action} | ({} if to is None else {"to": to})
        return dict(await self._transport.json("POST", self._path, body=body))
