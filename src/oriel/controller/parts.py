"""What the routes work with: every part of the controller, made and ended by composition.py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import HTTPConnection

from oriel.controller.admission import Admission
from oriel.controller.bus import Bus
from oriel.controller.countries import Countries
from oriel.controller.credentials import Credentials
from oriel.controller.draining import Draining
from oriel.controller.limits import Limits
from oriel.controller.links import Links
from oriel.controller.live import Live
from oriel.controller.metrics import Metrics
from oriel.controller.moments import Moments
from oriel.controller.passwords import Passwords
from oriel.controller.pool import Pool
from oriel.controller.rights import Principal
from oriel.controller.room import Room
from oriel.controller.sharing import Sharing
from oriel.controller.sign_on import SignOn
from oriel.controller.stills import Stills
from oriel.controller.store.database import Database
from oriel.controller.store.quotas import Quotas
from oriel.controller.supervisor import Supervisor
from oriel.controller.templates import Templates
from oriel.controller.tickets import Tickets
from oriel.controller.vault import Vault
from oriel.fleet import Fleet
from oriel.host.settings import Settings
from oriel.model.errors import OrielError
from oriel.porter import Porter

__all__ = ["Parts", "parts_of"]

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?\Z")


@dataclass(frozen=True, kw_only=True)
class Parts:
    settings: Settings
    url: str  # where we listen, as people can type it
    web: Path
    database: Database
    bus: Bus
    countries: Countries
    vault: Vault
    fleet: Fleet
    passwords: Passwords
    sign_on: SignOn
    credentials: Credentials
    tickets: Tickets
    links: Links
    quotas: Quotas
    live: Live
    limits: Limits
    metrics: Metrics
    supervisor: Supervisor
    draining: Draining
    moments: Moments
    admission: Admission
    room: Room
    templates: Templates
    pool: Pool
    stills: Stills
    sharing: Sharing
    porter: Porter
    background: set[asyncio.Task[None]] = field(default_factory=set)

    def base_url(self, connection: HTTPConnection) -> str:
        """Under which address whoever asks reaches the page."""
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/")
        host = connection.headers.get("host", "")
        if not _HOST.match(host):
            return self.url
        scheme = "https" if connection.url.scheme in ("https", "wss") else "http"
        return f"{scheme}://{host}"

    def cut_off(self, belongs: Callable[[Principal, str], bool], why: OrielError) -> None:
        """Of every principal and desktop for which `belongs`: what is open is closed, tickets are void."""
        self.credentials.forget()
        self.tickets.revoke(lambda one: belongs(one.principal, one.desktop))
        self.live.end(lambda one: belongs(one.principal, one.desktop), why)


def parts_of(connection: HTTPConnection) -> Parts:
    parts: Parts = connection.app.state.parts
    return parts
