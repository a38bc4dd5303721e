"""Files of a desktop. Paths are the guest's alone: here they are a parameter that is passed on."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.guest import Guest
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission
from oriel.controller.store.desktops import Desktop
from oriel.controller.transports import Takable, takable
from oriel.fleet import Plain, ask_plain
from oriel.model import wire
from oriel.model.errors import Fault, InvalidError, WireError
from oriel.porter import Porter

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}/files", tags=["files"])

Driven = Annotated[Desktop, Depends(desktop(Permission.CONTROL, shared=True, running=True))]
Path = Annotated[str, Query(min_length=1, max_length=4096)]
Upload = Annotated[str | None, Query(pattern=r"^[0-9a-f]{16,64}$")]
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
SPOOL_BYTES = 1 << 20  # an upload of unknown size waits in memory up to this, then on disk
PIECE = 1 << 18


@router.get("")
async def read_file(
    request: Request, found: Driven, path: Path, list: bool = False, upload: Upload = None
) -> Response:
    """The file as a download; with `list=1` the entries of a directory; with `upload` `{offset}`: how much of
    that upload has come."""
    if upload is not None:
        begun = {"path": path, "upload": upload}
        told = await Guest(parts_of(request).fleet.keeper(found.id)).ask("file_offset", begun)
        return JsonResponse({"offset": told.get("offset")})
    if list:
        guest = Guest(parts_of(request).fleet.keeper(found.id))
        return JsonResponse({"entries": (await guest.ask("file_list", {"path": path})).get("entries", [])})
    return await _download(request, found, path)


@router.put("", status_code=204, responses={200: {"description": "a piece has come"}})
async def write_file(
    request: Request, found: Driven, path: Path, mode: str | None = None, upload: Upload = None
) -> Response:
    """The body, in place and synced when this answers. `mode`: permission bits, octal.

    With `upload`, 16 to 64 of 0-9a-f of the sender's choosing, in pieces that the header `Content-Range:
    bytes A-B/TOTAL` names, in order; each answers `{offset, complete}`. What came is kept for a day when the
    connection breaks: GET with the same `upload` tells how much that is, DELETE gives it up. The file is in
    place with the last piece.
    """
    bits = _mode(mode)
    guest = Guest(parts_of(request).fleet.keeper(found.id))
    if upload is not None:
        place = _piece(request, parts_of(request).settings.upload_limit_mib)
        wanted = {"path": path, "upload": upload, **place} | ({} if bits is None else {"mode": bits})
        return JsonResponse(await guest.append_file(wanted, request.stream()))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        await guest.write_file(path, int(announced), bits, request.stream())
        return Response(status_code=204)
    # The agent must know the size first, and the sender does not say it.
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            await anyio.to_thread.run_sync(spool.write, piece)
        spool.seek(0)
        await guest.write_file(path, size, bits, _pieces(spool))
    return Response(status_code=204)


@router.delete("", status_code=204)
async def delete_file(
    request: Request, found: Driven, path: Path, recursive: bool = False, upload: Upload = None
) -> Response:
    """A file or an empty directory; with `recursive=1` a full one; with `upload` what has come of that."""
    guest = Guest(parts_of(request).fleet.keeper(found.id))
    if upload is not None:
        await guest.ask("file_abandon", {"path": path, "upload": upload})
        return Response(status_code=204)
    await guest.ask("file_delete", {"path": path, "recursive": recursive}, deadline_s=60)
    return Response(status_code=204)


async def _download(request: Request, found: Desktop, path: str) -> Response:
    """Opened before the answer begins, so that a file that is not there is a 404."""
    parts, connection = parts_of(request), takable(request.scope)
    async with AsyncExitStack() as opening:
        sock = await opening.enter_async_context(parts.fleet.keeper(found.id).socket("agent"))
        size = (await ask_plain(sock, "file_read", {"path": path})).get("size")
        if not isinstance(size, int) or size < 0:
            raise WireError("the agent did not tell the file's size")
        opened = opening.pop_all()
    headers = {"Content-Length": str(size), "Content-Disposition": _attachment(path)}
    if connection is not None and parts.porter.there:
        return _CarriedDownload(parts.porter, connection, opened, sock, size=size, headers=headers)
    return StreamingResponse(
        _content(opened, sock, size), media_type="application/octet-stream", headers=headers
    )


async def _content(opened: AsyncExitStack, sock: Plain, size: int) -> AsyncIterator[bytes]:
    async with opened:
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        try:
            async for piece in wire.read_chunks(reader, size):
                yield piece
        finally:
            writer.transport.abort()


class _CarriedDownload(Response):
    """Its head is said here; its bytes go by the porter, and come whatever becomes of the controller."""

    media_type = "application/octet-stream"

    def __init__(
        self, porter: Porter, connection: Takable, opened: AsyncExitStack, sock: Plain,
        *, size: int, headers: dict[str, str],
    ) -> None:  # fmt: skip
        super().__init__(headers=headers | {"Connection": "close"})
        self._porter, self._connection, self._opened = porter, connection, opened
        self._sock, self._size = sock, size

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        async with self._opened:
            self._connection.hold()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with await self._connection.take() as client:
                carried = self._porter.carry(client, self._sock, "download", {}, size=self._size)
            if carried is not None:
                await carried.ended


async def _pieces(spool: Any) -> AsyncIterator[bytes]:
    while piece := await anyio.to_thread.run_sync(spool.read, PIECE):
        yield piece


def _attachment(path: str) -> str:
    """Never shown in the page: what is in it comes from the guest (RFC 6266, RFC 8187)."""
    name = path.rstrip("/").rpartition("/")[2] or "file"
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _piece(request: Request, limit_mib: int) -> dict[str, int]:
    """Where the body belongs, by its Content-Range."""
    found = RANGE.fullmatch(request.headers.get("content-range", ""))
    if found is None:
        raise InvalidError.of([Fault("Content-Range", "must be bytes A-B/TOTAL")])
    first, last, total = (int(number) for number in found.groups())
    if not first <= last < total or request.headers.get("content-length") != str(last - first + 1):
        raise InvalidError.of([Fault("Content-Range", "must fit Content-Length, and end before TOTAL")])
    if total > limit_mib << 20:
        raise InvalidError(f"the file is longer than {limit_mib} MiB", hint="send less", code="too_large")
    return {"offset": first, "size": last - first + 1, "total": total}


def _mode(text: str | None) -> int | None:
    if text is None:
        return None
    if not (0 < len(text) <= 4 and set(text) <= set("01234567")):
        raise InvalidError.of([Fault("mode", "must be permission bits in octal, such as 644")])
    return int(text, 8)
