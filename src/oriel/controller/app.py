"""The HTTP application: routes, what surrounds them, and errors as problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

import oriel
from oriel.controller.api import (
    catalog,
    clipboard,
    commands,
    computer,
    control,
    desktops,
    egress,
    events,
    files,
    moments,
    page,
    people,
    proxies,
    screen,
    session,
    session_socket,
    shares,
    sign_on,
    status,
    streams,
    views,
)
from oriel.controller.middleware import Envelope, SecurityHeaders
from oriel.controller.openapi import describe
from oriel.controller.parts import Parts
from oriel.controller.problems import problem
from oriel.controller.wishes import faults_of
from oriel.model.errors import ForbiddenError, InvalidError, NotFoundError, OrielError

__all__ = ["build_app", "document"]


def build_app(parts: Parts) -> FastAPI:
    """The application over `parts`. Everything with side effects is made and ended elsewhere."""
    app = _routed([Middleware(SecurityHeaders), Middleware(Envelope, parts=parts)])
    app.state.parts = parts
    app.add_exception_handler(OrielError, _oriel_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def document() -> dict[str, Any]:
    """The API's description, as every controller of this version serves it."""
    return describe(_routed([]))


def _routed(middleware: Sequence[Middleware]) -> FastAPI:
    app = FastAPI(
        title="Oriel",
        version=oriel.__version__,
        description="Desktops in the browser, each behind its own way out.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        middleware=middleware,
    )
    for module in (
        session, sign_on, desktops, moments, views, shares, control, screen, streams, session_socket,
        computer, clipboard, commands, files, egress, events, proxies, people, catalog, status, page,
    ):  # fmt: skip
        app.include_router(module.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign] # FastAPI's own way to do this
    return app


async def _oriel_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OrielError)  # noqa: S101 - it was registered for this class
    return problem(error, request_id=request.state.request_id)


async def _validation_error(request: Request, error: Exception) -> Response:
    """pydantic's findings: without the place they were found in, which is not the field's name."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    found = [
        {**one, "loc": one["loc"][1:] if one["loc"][:1] in (("body",), ("query",), ("path",)) else one["loc"]}
        for one in error.errors()
    ]
    for one in found:
        if one["type"] == "json_invalid":
            one |= {"loc": ("body",), "msg": "is not JSON"}
    return problem(InvalidError.of(faults_of(found)), request_id=request.state.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    answer = problem(_ours(request, error), request_id=request.state.request_id)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _ours(request: Request, error: HTTPException) -> OrielError:
    path = request.url.path[:200]
    if error.status_code == 404:
        return NotFoundError(f"there is nothing at {path}", hint="/docs lists what there is")
    if error.status_code == 405:
        return InvalidError(
            f"{request.method} is not possible at {path}",
            hint="/docs lists what is",
            code="method_not_allowed",
        )
    if error.status_code == 413:
        return InvalidError(str(error.detail), hint="send less", code="too_large")
    if error.status_code == 403:
        return ForbiddenError(str(error.detail))
    return InvalidError(str(error.detail) or "the request is not understood", code="bad_request")
