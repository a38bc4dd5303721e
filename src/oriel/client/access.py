"""Where the controller is and who we are: a URL and a token, from the caller, the environment or the home."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from oriel.host.layout import Home, default_home
from oriel.model.errors import AuthError, Fault, InvalidError, UnavailableError
from oriel.model.secret import Secret

__all__ = ["Access", "find_access"]

_ELSEWHERE = "from another machine or account set ORIEL_URL and ORIEL_TOKEN (`oriel token create` makes one)"


@dataclass(frozen=True)
class Access:
    """A controller and a bearer token for it. `url` has no path and no trailing slash."""

    url: str
    token: Secret

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidError.of([Fault("ORIEL_URL", "must be http://HOST:PORT or https://HOST:PORT")])
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def websocket_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def loopback(self) -> bool:
        """Whether the controller is on this machine, where no proxy of the caller's applies."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "::1", "localhost")


def find_access(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Access:
    """A home given by the caller decides; else ORIEL_URL and ORIEL_TOKEN; else the default home.

    Raises UnavailableError if no controller serves that home, AuthError if there is no token or it
    may not be read, InvalidError if ORIEL_URL is no such URL.
    """
    environ = os.environ if environ is None else environ
    url, token = environ.get("ORIEL_URL", ""), environ.get("ORIEL_TOKEN", "")
    if home is not None:
        return _access_of(Home(home))
    if url and token:
        return Access(url, Secret(token))
    if url:
        raise AuthError("ORIEL_URL is set but ORIEL_TOKEN is not", hint="set both, or neither")
    paths = Home(Path(environ["ORIEL_HOME"]) if environ.get("ORIEL_HOME") else default_home())
    return Access(_recorded_url(paths), Secret(token)) if token else _access_of(paths)


def _access_of(home: Home) -> Access:
    url = _recorded_url(home)
    try:
        token = home.admin_token.read_text().strip()
    except FileNotFoundError as error:
        raise AuthError(
            f"there is no admin token at {home.admin_token}",
            hint="the controller writes it on its first start: see `./run`",
        ) from error
    except PermissionError as error:
        raise AuthError(f"{home.admin_token} may not be read by you", hint=_ELSEWHERE) from error
    return Access(url, Secret(token))


def _recorded_url(home: Home) -> str:
    try:
        record = json.loads(home.controller_record.read_text())
        return str(record["url"])
    except FileNotFoundError as error:
        raise UnavailableError(
            f"no controller serves the home {home.root}",
            hint="start it with ./run, name another home with --home, or set ORIEL_URL and ORIEL_TOKEN",
        ) from error
    except PermissionError as error:
        raise AuthError(f"{home.controller_record} may not be read by you", hint=_ELSEWHERE) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(
            f"{home.controller_record} is damaged", hint="stop and start the controller: ./run --stop; ./run"
        ) from error
