"""JSON answers, and the opaque marks between the pages of a list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.responses import Response

from oriel.model.errors import Fault, InvalidError

__all__ = ["JsonResponse", "before_of", "list_of"]

T = TypeVar("T")


class JsonResponse(Response):
    """Compact JSON; what is in it is ours already, and is not validated again."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def before_of(cursor: str | None) -> int | None:
    """The number that the next page ends before. InvalidError for a cursor that is none of ours."""
    if not cursor:
        return None
    try:
        mark = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        kind, _, number = mark.partition(":")
        if kind != "before" or not number.isdecimal() or len(number) > 18:
            raise ValueError
        return int(number)
    except (ValueError, binascii.Error):
        problem = "must be the `next` of a former answer, unchanged"
        raise InvalidError.of([Fault("cursor", problem)]) from None


def list_of(
    items: Sequence[T],
    limit: int,
    document: Callable[[T], Mapping[str, Any] | bytes],
    number: Callable[[T], int],
) -> Response:
    """One page. `items` has one more than `limit` if there is a next. `document`: the item's, or its JSON."""
    shown = items[:limit]
    following = None
    if len(items) > limit:
        following = base64.urlsafe_b64encode(f"before:{number(shown[-1])}".encode()).decode().rstrip("=")
    told = [one if isinstance(one, bytes) else to_json(one) for one in map(document, shown)]
    body = b'{"items":[' + b",".join(told) + b'],"next":' + to_json(following) + b"}"
    return Response(body, media_type=JsonResponse.media_type)
