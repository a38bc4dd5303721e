"""What the routes work with: every part of the controller, made and ended by composition.py."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from oriel.controller.admission import Admission
from oriel.controller.bus import Bus
from oriel.controller.countries import Countries
from oriel.controller.identity import Identities, Permission, Principal
from oriel.controller.limits import Limits
from oriel.controller.live import Live
from oriel.controller.metrics import Metrics
from oriel.controller.stills import Stills
from oriel.controller.store.database import Database
from oriel.controller.supervisor import Supervisor
from oriel.controller.tickets import Tickets
from oriel.controller.vault import Vault
from oriel.fleet import Fleet
from oriel.host.settings import Settings
from oriel.model.errors import NotFoundError

if TYPE_CHECKING:
    from oriel.controller.store.desktops import Desktop

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
    identities: Identities
    tickets: Tickets
    live: Live
    limits: Limits
    metrics: Metrics
    supervisor: Supervisor
    admission: Admission
    stills: Stills
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

    def check_visible(self, principal: Principal, desktop: Desktop | None) -> Desktop:
        """NotFoundError for what does not exist, and just the same for what is somebody else's."""
        if desktop is not None:
            if principal.desktop:
                if principal.desktop == desktop.id:
                    return desktop
            elif principal.may(Permission.ADMIN) or desktop.owner_id == principal.user_id:
                return desktop
        raise NotFoundError("there is no such desktop", hint="`oriel list` shows yours")


def parts_of(connection: HTTPConnection) -> Parts:
    parts: Parts = connection.app.state.parts
    return parts
