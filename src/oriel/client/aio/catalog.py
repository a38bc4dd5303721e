"""The quiet tables: proxies, images, users, tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from oriel.client.aio.transport import Transport
from oriel.client.values import Page
from oriel.model.errors import OrielError, UnavailableError
from oriel.model.secret import Secret

__all__ = ["Collection", "Images", "Proxies", "Templates", "Tokens", "Users"]

BUILD_SILENCE_S = 1800.0  # packages of a whole system may be fetched without a word


class Collection:
    """A resource with a list and single items, as JSON objects."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._root = path

    def _path(self, ref: str) -> str:
        return f"{self._root}/{quote(ref, safe='')}"

    async def list(self) -> list[dict[str, Any]]:
        """All items, newest first."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = Page.of(await self._transport.json("GET", self._root, params={"cursor": cursor}))
            items += page.items
            cursor = page.next
            if cursor is None:
                return items

    async def _built(self, wanted: dict[str, Any], what: str, on_progress: Callable[[str], None]) -> str:
        """Ask for something that is built, and follow that to its end; the id of what was made."""
        lines = self._transport.lines("POST", self._root, body=wanted, silence_s=BUILD_SILENCE_S)
        async with aclosing(lines) as progress:
            async for line in progress:
                if isinstance(line.get("error"), dict):
                    raise OrielError.from_wire(line["error"])
                on_progress(str(line.get("message") or line.get("phase", "")))
                if line.get("done"):
                    return str(line.get(what, ""))
        raise UnavailableError("the build's progress ended before the build", hint="see the controller's log")

    async def get(self, ref: str) -> dict[str, Any]:
        return dict(await self._transport.json("GET", self._path(ref)))

    async def make(self, **fields: Any) -> dict[str, Any]:
        """A new item, as the API's POST of this resource has it."""
        return dict(await self._transport.json("POST", self._root, body=fields))

    async def delete(self, ref: str) -> None:
        await self._transport.json("DELETE", self._path(ref))


class Proxies(Collection):
    """Upstream proxies. A password goes in and never comes out."""

    async def add(self, name: str, url: Secret, **fields: Any) -> dict[str, Any]:
        """`url`: http, https or socks5, with user and password as the provider gave them."""
        return await self.make(name=name, url=url.reveal(), **fields)

    async def check(
        self, ref: str, *, place: int = 0, ports: tuple[int, ...] | None = None
    ) -> dict[str, Any]:
        """Whether it can be reached, accepts its password, what address the world then sees, and which ports
        it allows. `place`: which address of a pool, from 0."""
        body: dict[str, Any] = {"place": place} | ({} if ports is None else {"ports": [*ports]})
        return dict(await self._transport.json("POST", f"{self._path(ref)}/check", body=body))

    async def assign(self, ref: str, desktop: str) -> dict[str, Any]:
        """Let a desktop go out by it, at once; the desktop's way out. StateError if no address is free."""
        return dict(
            await self._transport.json("POST", f"{self._path(ref)}/assign", body={"desktop": desktop})
        )


class Images(Collection):
    """Golden images of the controller's host."""

    async def build(self, recipe: str, *, on_progress: Callable[[str], None] = lambda _text: None) -> str:
        """Build a recipe's image, or find it built; its id. Raises what the build failed with."""
        return await self._built({"recipe": recipe}, "image", on_progress)


class Templates(Collection):
    """Moments at which new virtual machines of the controller's host begin."""

    async def build(
        self, *, on_progress: Callable[[str], None] = lambda _text: None, **wanted: Any
    ) -> dict[str, Any]:
        """Boot once and keep the moment. `wanted` as for a desktop: `image`, `runtime`, `memory_mib` …"""
        made = await self._built(wanted, "template", on_progress)
        return next(item for item in await self.list() if item["id"] == made)


class Users(Collection):
    async def add(self, name: str, role: str) -> dict[str, Any]:
        """`role`: admin, user or viewer."""
        return await self.make(name=name, role=role)

    async def change(self, name: str, **fields: Any) -> dict[str, Any]:
        """`role`, `quota`, `subject`."""
        return dict(await self._transport.json("PATCH", self._path(name), body=fields))

    async def set_password(self, name: str, password: Secret | None) -> None:
        """None takes it away. Whoever is signed in as them is signed out."""
        path = f"{self._path(name)}/password"
        if password is None:
            await self._transport.json("DELETE", path)
        else:
            await self._transport.json("PUT", path, body={"password": password.reveal()})


class Tokens(Collection):
    async def create(
        self,
        user: str,
        name: str,
        *,
        scopes: tuple[str, ...] | None = None,
        expires_in_s: int | None = None,
    ) -> tuple[str, Secret]:
        """Its id, and the token itself: the only time it is shown."""
        body: dict[str, Any] = {"user": user, "name": name}
        if scopes is not None:
            body["scopes"] = [*scopes]
        if expires_in_s is not None:
            body["expires_in_s"] = expires_in_s
        made = await self.make(**body)
        return str(made["id"]), Secret(str(made["token"]))
