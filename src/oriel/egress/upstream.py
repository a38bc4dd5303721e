"""A proxy URL as a user pastes it, read into its parts. Pure and light: the controller uses it too.

No message here ever quotes what was given: any part of it may be the password.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote

from oriel.egress.target import Address, TargetError, parse_host
from oriel.model.errors import Fault, InvalidError
from oriel.model.secret import Secret

__all__ = ["Upstream", "UpstreamKind", "expand_pool", "parse_upstream"]

MAX_POOL = 1000  # addresses of one proxy
MAX_CREDENTIAL = 255  # bytes each (RFC 1929 for SOCKS5; no HTTP proxy needs more)
HINT = "paste it as scheme://user:password@host:port, with http, https or socks5"


class UpstreamKind(StrEnum):
    HTTP = "http"
    HTTPS = "https"  # TLS to the proxy itself
    SOCKS5 = "socks5"  # names are resolved by the proxy


@dataclass(frozen=True, slots=True)
class Upstream:
    """One proxy. Its repr shows no credential."""

    kind: UpstreamKind
    host: str | Address
    port: int
    username: str = field(default="", repr=False)
    password: Secret = field(default_factory=lambda: Secret(""))

    @property
    def label(self) -> str:
        """`scheme://host:port`: for people, pages, events."""
        host = f"[{self.host}]" if ":" in str(self.host) else str(self.host)
        return f"{self.kind}://{host}:{self.port}"

    @property
    def has_credentials(self) -> bool:
        return bool(self.username or self.password)

    @property
    def url(self) -> Secret:
        """The canonical URL, credentials percent-encoded, for storing encrypted."""
        scheme, _, authority = self.label.partition("://")
        if not self.has_credentials:
            return Secret(self.label)
        user, password = quote(self.username, safe=""), quote(self.password.reveal(), safe="")
        return Secret(f"{scheme}://{user}:{password}@{authority}")

    def basic(self) -> Secret:
        """The value of Proxy-Authorization (RFC 7617, UTF-8), "" without credentials."""
        if not self.has_credentials:
            return Secret("")
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def parse_upstream(url: str) -> Upstream:
    """Read `[scheme://][user:password@]host:port` or `host:port:user:password`.

    The password may be percent-encoded or not: it is decoded only if every % begins an escape and
    nothing in it would have needed one. InvalidError carries all faults together.
    """
    faults: list[Fault] = []
    scheme, rest = _split_scheme(url.strip())
    if scheme not in ("http", "https", "socks5", "socks5h"):
        faults.append(Fault("scheme", "must be http, https or socks5"))
    username, password, host_text, port_text = _split_parts(rest)
    host: str | Address = ""
    try:
        host = parse_host(host_text)
    except TargetError as error:
        faults.append(Fault("host", str(error) if host_text else "is missing"))
    port = int(port_text) if re.fullmatch("[0-9]{1,5}", port_text) else 0
    if not 0 < port < 65536:
        faults.append(Fault("port", "must be a number from 1 to 65535, after a colon"))
    if ":" in username and scheme != "socks5":
        faults.append(Fault("username", "must not contain a colon"))
    for what, value in (("username", username), ("password", password)):
        if len(value.encode(errors="replace")) > MAX_CREDENTIAL:
            faults.append(Fault(what, f"must be at most {MAX_CREDENTIAL} bytes"))
        if not value.isprintable():
            faults.append(Fault(what, "must not contain control characters"))
    if password and not username:
        faults.append(Fault("username", "is missing before the password"))
    if faults:
        raise InvalidError.of(faults, hint=HINT) from None
    kind = UpstreamKind("socks5" if scheme == "socks5h" else scheme)
    return Upstream(kind, host, port, username, Secret(password))


def expand_pool(text: str) -> list[Secret]:
    """A list as providers give it, one URL a line, each of which may have a range of ports. At least one.

    InvalidError for a bad range, or for more than MAX_POOL URLs.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pool = [url for line in lines or [""] for url in _expand_ports(line)]
    if len(pool) > MAX_POOL:
        raise InvalidError.of([Fault("url", f"must be at most {MAX_POOL} addresses")], hint=HINT)
    return pool


def _expand_ports(url: str) -> list[Secret]:
    """`…@host:10001-10010` as ten URLs (one port, one address); any other URL as itself."""
    text = url.strip()
    start = text.rfind("@") + 1 or len(text) - len(_split_scheme(text)[1])
    match = re.compile(r"(?:[^:\[\]]+|\[[^\]]*\]):(([0-9]{1,5})-([0-9]{1,5}))(?=[:/]|\Z)").match(text, start)
    if match is None:
        return [Secret(url)]
    low, high = int(match[2]), int(match[3])
    if not 0 < low <= high < 65536 or high - low >= MAX_POOL:
        problem = f"a range is low-high within 1 to 65535, at most {MAX_POOL} ports"
        raise InvalidError.of([Fault("port", problem)], hint=HINT)
    before, after = text[: match.start(1)], text[match.end(1) :]
    return [Secret(f"{before}{port}{after}") for port in range(low, high + 1)]


def _split_scheme(text: str) -> tuple[str, str]:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if match is None:
        return ("", text) if "://" in text.split("@", maxsplit=1)[0] else ("http", text)
    return match[1].lower(), text[match.end() :]


def _split_parts(rest: str) -> tuple[str, str, str, str]:
    """(username, password, host, port), decoded; what is missing is ""."""
    userinfo, at, authority = rest.rpartition("@")
    authority = authority.removesuffix("/")
    if not at and (match := re.fullmatch(r"([^:\[\]]+):([0-9]+):([^:]+):(.*)", authority, re.DOTALL)):
        return match[3], match[4], match[1], match[2]
    username, _, password = userinfo.partition(":")
    match = re.fullmatch(r"(\[.*\]|[^:]*)(?::(.*))?", authority, re.DOTALL)
    host, port = (match[1], match[2] or "") if match else (authority, "")
    return _decode(username), _decode(password), host, port


def _decode(text: str) -> str:
    encoded = "%" in text and re.fullmatch(r"(?:[^%]|%[0-9A-Fa-f]{2})*", text, re.DOTALL)
    if not encoded or re.search(r"[@:/?#\[\]\s]", text):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
