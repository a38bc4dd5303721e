"""The API's description of itself: what FastAPI knows of the routes, and what all of them share.

Every refusal is a problem document, every body that is not JSON has its media type, and whatever needs a
credential says which. A test sends requests made from this description and compares what comes back.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["describe"]

# What needs no credential.
OPEN = frozenset({
    "/v1/session/ways", "/v1/session/oidc", "/v1/session/oidc/callback", "/v1/tickets/redeem", "/healthz",
    "/readyz", "/metrics",
})  # fmt: skip
OPEN_VERBS = frozenset({("/v1/session", "post"), ("/v1/session", "delete")})

_BINARY = {"type": "string", "format": "binary"}
_EVENT = {  # one server-sent event; `data` is an event of ours as JSON
    "type": "object",
    "properties": {"id": {"type": "string"}, "data": {"type": "string"}},
}
_PROBLEM = {
    "type": "object",
    "description": "Why something was refused or failed (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, for programs."},
        "detail": {"type": "string", "description": "What happened."},
        "hint": {"type": "string", "description": "What to do."},
        "instance": {"type": "string"},
        "faults": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
    },
}
# What succeeds without being a JSON document: path, verb -> status -> media type -> schema.
_ANSWERS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("/v1/desktops/{ref}/still", "get"): {"200": {"image/png": _BINARY}, "204": {}, "304": {}},
    ("/v1/desktops/{ref}/computer/screenshot", "get"): {"200": {"image/png": _BINARY}},
    ("/v1/desktops/{ref}/files", "get"): {
        "200": {"application/octet-stream": _BINARY, "application/json": {"type": "object"}}
    },
    ("/v1/events", "get"): {"200": {"text/event-stream": _EVENT}},
    ("/v1/desktops/{ref}/events", "get"): {"200": {"text/event-stream": _EVENT}},
    ("/v1/images", "post"): {"200": {"application/x-ndjson": {"type": "string"}}},
    ("/v1/templates", "post"): {"200": {"application/x-ndjson": {"type": "string"}}},
    ("/v1/audit/export", "get"): {"200": {"application/x-ndjson": {"type": "string"}}},
    ("/metrics", "get"): {"200": {"text/plain": {"type": "string"}}},
    ("/v1/session/oidc", "get"): {"303": {}},
    ("/v1/session/oidc/callback", "get"): {"303": {}},
}
_SENT: dict[tuple[str, str], dict[str, Any]] = {
    ("/v1/desktops/{ref}/files", "put"): {"application/octet-stream": {"schema": _BINARY}},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = made["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Problem"] = _PROBLEM
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token, or the grant of a link."},
            "session": {"type": "apiKey", "in": "cookie", "name": "oriel", "description": "The page's own."},
        }
        for path, verbs in made["paths"].items():
            for verb, operation in verbs.items():
                _complete(path, verb, operation)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, verb: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    if (given := _ANSWERS.get((path, verb))) is not None:
        answers.clear()
        for status, content in given.items():
            described = {media: {"schema": schema} for media, schema in content.items()}
            answers[status] = {"description": "As asked."} | ({"content": described} if described else {})
    refusal = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, told in answers.items():
        if status >= "4":
            told["content"] = refusal
        for media in told.get("content", {}).values():
            media["schema"] = media.get("schema") or {"type": "object"}
    answers["4XX"] = {"description": "Refused.", "content": refusal}
    answers["5XX"] = {"description": "Something else does not answer.", "content": refusal}
    if path not in OPEN and (path, verb) not in OPEN_VERBS:
        operation["security"] = [{"token": []}, {"session": []}]
    if (path, verb) in _SENT:
        operation["requestBody"] = {"content": _SENT[path, verb], "required": True}
