"""The page: files as they were built, and its one document under every address it knows."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import anyio
from fastapi import APIRouter, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import FileResponse, Response

from oriel.controller.parts import parts_of
from oriel.model.errors import NotFoundError

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

# The page's own addresses (web/src/route.ts).
DOCUMENTS = (
    "", "desktops", "proxies", "images", "templates", "snapshots", "tokens", "people", "audit", "host",
)  # fmt: skip
_FOREVER = "public, max-age=31536000, immutable"
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("application/manifest+json", ".webmanifest")


class _NotTheApi(Convertor[str]):
    """Any path but the API's, where what does not exist is a problem document for every method."""

    regex = r"(?!v1(?:/|$)).*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("page", _NotTheApi())


@router.get("/{path:page}")
async def page(request: Request, path: str) -> Response:
    """A file of the build, or its document. Nothing outside of the build is ever read."""
    root = parts_of(request).web
    first, _, rest = path.partition("/")
    if first in DOCUMENTS and (first == "desktops" or not rest):
        return await _document(root)
    file = await anyio.to_thread.run_sync(_inside, root, path)
    if file is None:
        raise NotFoundError(f"there is nothing at /{path[:200]}")
    cache = _FOREVER if first == "assets" else "no-cache"
    return FileResponse(file, headers={"Cache-Control": cache})


async def _document(root: Path) -> Response:
    file = await anyio.to_thread.run_sync(_inside, root, "index.html")
    if file is None:
        raise NotFoundError("the page is not built", hint="`./run` builds it: npm run build in web/")
    return FileResponse(file, media_type="text/html", headers={"Cache-Control": "no-cache"})


def _inside(root: Path, path: str) -> Path | None:
    """The file `path` of the build, None if there is none or it would lead out."""
    if "\0" in path:
        return None
    try:
        file = (root / path).resolve()
        inside = file.is_relative_to(root.resolve())
        return file if inside and file.is_file() else None
    except (OSError, RuntimeError):
        return None
