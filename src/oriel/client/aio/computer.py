"""What an agent does at a desktop: look, point, type; and its files."""

from __future__ import annotations

from io import BytesIO
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
        """The clipboard as text; "" if it holds none."""
        return str((await self._clipboard())["text"])

    async def clipboard_html(self) -> str | None:
        """Its markup, None if there is none. It comes from a desktop: never show it as a page."""
        found = (await self._clipboard())["html"]
        return None if found is None else str(found)

    async def clipboard_image(self) -> bytes | None:
        """Its picture as PNG, None if there is none."""
        if not (await self._clipboard())["image"]:
            return None
        return await self._transport.data("GET", f"{self._path}/clipboard/image")

    async def set_clipboard(self, text: str | None = None, *, html: str | None = None) -> None:
        """The same as text and as markup, or one of them."""
        body = {"text": text, "html": html}
        given = {name: value for name, value in body.items() if value is not None}
        await self._transport.json("PUT", f"{self._path}/clipboard", body=given)

    async def set_clipboard_image(self, png: bytes) -> None:
        await self._transport.upload(f"{self._path}/clipboard/image", BytesIO(png), params={})

    async def _clipboard(self) -> Any:
        return await self._transport.json("GET", f"{self._path}/clipboard")

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

    async def upload(
        self, source: BinaryIO, path: str, *, mode: int | None = None, upload: str | None = None
    ) -> None:
        """All of `source`; synced when this returns. `mode`: permission bits, 0644 if not given.

        `upload`, 16 to 64 of 0-9a-f: what came of it is kept when the connection breaks, and the same call
        again goes on from there.
        """
        octal = None if mode is None else f"{mode:o}"
        params = {"path": path, "mode": octal, "upload": upload}
        offset = 0 if upload is None else await self.uploaded(path, upload)
        await self._transport.upload(
            self._path, source, params=params, offset=offset, ranged=upload is not None
        )

    async def uploaded(self, path: str, upload: str) -> int:
        """How many bytes of an upload that is not whole yet have come."""
        answer = await self._transport.json("GET", self._path, params={"path": path, "upload": upload})
        return int(answer["offset"])

    async def abandon(self, path: str, upload: str) -> None:
        """Give up an upload that is not whole yet; nothing is left of it."""
        await self._transport.json("DELETE", self._path, params={"path": path, "upload": upload})

    async def list(self, path: str) -> list[FileEntry]:
        answer = await self._transport.json("GET", self._path, params={"path": path, "list": 1})
        return [FileEntry.of(entry) for entry in answer["entries"]]

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        params = {"path": path, "recursive": 1 if recursive else None}
        await self._transport.json("DELETE", self._path, params=params)
