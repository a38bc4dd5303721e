"""What a person sees in place of a page that could not be had."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from oriel.egress.head import encode_head
from oriel.model.errors import OrielError

__all__ = ["error_response"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 34rem; margin: 18vh auto; padding: 0 1.5rem }}
h1 {{ font-size: 1.4rem; font-weight: 600 }}
p {{ overflow-wrap: anywhere }}
small {{ opacity: .65 }}
</style></head><body>
<h1>{title}</h1>
<p>{message}</p>
<p>{hint}</p>
<small>{status} · {code} · said by this desktop’s gateway, not by the site</small>
</body></html>
"""

_TITLES = {
    400: "This request was not understood",
    403: "This address is not allowed",
    429: "That is too much for now",
    502: "No way through",
    504: "No answer in time",
}


def error_response(error: OrielError, status: int, *, html: bool, body: bool = True) -> bytes:
    """A complete response that ends the connection. `html` if the client is one that shows pages;
    `body` False for HEAD."""
    title = _TITLES.get(status, "No way through")
    if html:
        text = _PAGE.format(
            title=escape(title),
            message=escape(_sentence(error.message)),
            hint=escape(_sentence(error.hint)),
            status=status,
            code=escape(error.code),
        )
    else:
        text = f"{title}: {error.message}. {_sentence(error.hint)}\n"
    content = text.encode()
    phrase = HTTPStatus(status).phrase.encode("ascii")
    kind = b"text/html" if html else b"text/plain"
    head = encode_head(
        b"HTTP/1.1 %d %s" % (status, phrase),
        [
            (b"Content-Type", kind + b"; charset=utf-8"),
            (b"Content-Length", b"%d" % len(content)),
            (b"Cache-Control", b"no-store"),
            (b"Oriel-Error", error.code.encode("ascii", "replace")),
            (b"Connection", b"close"),
        ],
    )
    return head + content if body else head


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
