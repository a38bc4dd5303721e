"""What an agent does at a desktop: look, point, type; and its files."""

from __future__ import annotations

from typing import Any, BinaryIO

from oriel.client.aio.transport import Transport
from oriel.client.values import FileEntry

__all__ = ["Computer", "Files"]


class Computer:
    """Screen, pointer, keyboard and clipboard of one desktop; coordinates in pixels of its screen."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/computer"

    async def screenshot(self) -> bytes:
        """The screen now, as PNG."""
        return await self._transport.data("GET", f"{self._path}/screenshot")

    async def move(self, x: int, y: int) -> None:
        await self._act("move", x=x, y=y)

    async def click(self, x: int, y: int, *, button: str = "left", count: int = 1) -> None:
        """`button`: left, middle or right; `count`: 2 for a double click."""
        await self._act("click", x=x, y=y, button=button, count=count)

    async def drag(self, x: int, y: int, to_x: int, to_y: int, *, button: str = "left") -> None:
        await self._act("drag", x=x, y=y, to_x=to_x, to_y=to_y, button=button)

    async def scroll(self, x: int, y: int, *, dx: int = 0, dy: int = 0) -> None:
        """`dx`, `dy`: wheel clicks to the right and down."""
        await self._act("scroll", x=x, y=y, dx=dx, dy=dy)

    async def type(self, text: str) -> None:
        """Type `text` into whatever has the focus."""
        await self._act("type", text=text)

    async def key(self, keys: str) -> None:
        """Press a key or a chord: `Return`, `ctrl+l`, `alt+F4` (X11 key names)."""
        await self._act("key", keys=keys)

    async def cursor(self) -> tuple[int, int]:
        """Where the pointer is."""
        at = await self._transport.json("GET", f"{self._path}/cursor")
        return int(at["x"]), int(at["y"])

    async def clipboard(self) -> str:
        answer = await self._transport.json("GET", f"{self._path}/clipboard")
        return str(answer["text"])

    async def set_clipboard(self, text: str) -> None:
        await self._transport.json("PUT", f"{self._path}/clipboard", body={"text": text})

    async def _act(self, action: str, **body: Any) -> None:
        await self._transport.json("POST", f"{self._path}/{action}", body=body)


class Files:
    """Files of one desktop, as its user sees them. Paths are absolute or relative to the user's home."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/files"

    async def read(self, path: str) -> bytes:
        return await self._transport.data("GET", self._path, params={"path": path})

    async def download(self, path: str, sink: BinaryIO) -> None:
        """Into a file of ours; after an error it holds part of it."""
        await self._transport.download(self._path, sink, params={"path": path})

    async def upload(self, source: BinaryIO, path: str, *, mode: int | None = None) -> None:
        """All of `source`; synced when this returns. `mode`: permission bits, 0644 if not given."""
        octal = None if mode is None else f"{mode:o}"
        await self._transport.upload(self._path, source, params={"path": path, "mode": octal})

    async def list(self, path: str) -> list[FileEntry]:
        answer = await self._transport.json("GET", self._path, params={"path": path, "list": 1})
        return [FileEntry.of(entry) for entry in answer["entries"]]

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        params = {"path": path, "recursive": 1 if recursive else None}
        await self._transport.json("DELETE", self._path, params=params)
