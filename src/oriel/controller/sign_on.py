"""Signing on at the organisation's OpenID provider: whether that is offered, and the way there and back.

What speaks with the provider is loaded when somebody first does: its libraries take a tenth of a second,
which a controller that comes back has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oriel.controller.vault import Vault
from oriel.host.settings import Settings
from oriel.model.errors import NotFoundError
from oriel.model.secret import Secret

if TYPE_CHECKING:
    from oriel.controller.provider import Provider

__all__ = ["PATH", "SIGN_ON_S", "Arrival", "SignOn"]

PATH = "/v1/session/oidc"
SIGN_ON_S = 600  # how long signing on at the provider may take


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Somebody came back from the provider. `subject`: who they are there, with whose word that is."""

    subject: str
    wished_name: str
    path: str  # where in the page they wanted to go


class SignOn:
    """By the one provider that is configured; `offered` is False if there is none."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._made: Provider | None = None

    @property
    def offered(self) -> bool:
        return bool(self._settings.oidc_issuer and self._settings.oidc_client_id)

    async def begin(self, redirect_uri: str, path: str) -> tuple[str, Secret]:
        """Where to send the browser, and what it must bring back. UnavailableError without the provider,
        NotFoundError if none is configured."""
        return await self._provider().begin(redirect_uri, path)

    async def finish(self, told: Mapping[str, str], kept: str, redirect_uri: str) -> Arrival:
        """Who came back. AuthError unless it is who left, in time, and the provider vouches for them."""
        return await self._provider().finish(told, kept, redirect_uri)

    def _provider(self) -> Provider:
        if not self.offered:
            raise NotFoundError("no provider to sign on at is configured", hint="sign in with a token")
        if self._made is None:
            from oriel.controller.provider import Provider

            self._made = Provider(self._settings, self._vault)
        return self._made
