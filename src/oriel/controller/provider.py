"""Signing on at the organisation's own provider: OpenID Connect, by authorization code with PKCE.

What must be remembered between leaving for the provider and coming back travels in the browser's own
cookie, sealed; only the browser that left can come back. People are known by the provider's `sub`, never by
a name they chose there.
"""

from __future__ import annotations

import json
import secrets
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import structlog
from authlib.common.errors import AuthlibBaseError
from joserfc.errors import JoseError

from oriel.controller.sign_on import SIGN_ON_S, Arrival
from oriel.controller.vault import Vault
from oriel.host.settings import Settings
from oriel.model.errors import AuthError, HostError, UnavailableError
from oriel.model.secret import Secret

__all__ = ["Provider"]

DEADLINE_S = 10.0
METADATA_S = 3600.0  # how long the provider's metadata and keys are believed
# Only what proves that the provider signed it: no "none", and no secret that it shares with us.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
_LOG = structlog.get_logger(__name__)


class Provider:
    """The one that is configured."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._made: tuple[float, Any] | None = None

    async def begin(self, redirect_uri: str, path: str) -> tuple[str, Secret]:
        """Where to send the browser, and what it must bring back. UnavailableError without the provider."""
        client = await self._client()
        verifier, nonce, state = (secrets.token_urlsafe(32) for _ in range(3))
        try:
            made = await client.create_authorization_url(
                redirect_uri, state=state, nonce=nonce, code_verifier=verifier
            )
        except (httpx.HTTPError, AuthlibBaseError, RuntimeError, ValueError) as error:
            raise self._unavailable(error) from error
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "path": path, "at": time.time()}
        return str(made["url"]), Secret(self._vault.seal(Secret(json.dumps(kept))).decode())

    async def finish(self, told: Mapping[str, str], kept: str, redirect_uri: str) -> Arrival:
        """Who came back. AuthError unless it is who left, in time, and the provider vouches for them."""
        trip = self._unsealed(kept)
        if not secrets.compare_digest(trip["state"].encode(), told.get("state", "").encode()):
            raise AuthError("this is not the sign-in that was begun here", hint="begin again")
        if "error" in told or not told.get("code"):
            _LOG.info("the provider refused", reason=told.get("error", "")[:80])
            raise AuthError("the provider did not let you in", hint="try again there")
        client = await self._client()
        if told.get("iss", client.server_metadata["issuer"]) != client.server_metadata["issuer"]:
            # RFC 9207: another provider's answer, mixed into this one's.
            raise AuthError("this is another provider's answer", hint="begin again")
        claims = await self._claims(client, told["code"], trip, redirect_uri)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject or len(subject) > 255:
            raise AuthError("the provider did not say who you are", hint="ask an administrator")
        name = claims.get("preferred_username") or claims.get("email") or ""
        return Arrival(
            subject=f"{self._settings.oidc_issuer} {subject}", wished_name=str(name)[:255], path=trip["path"]
        )

    async def _claims(
        self, client: Any, code: str, trip: Mapping[str, Any], redirect_uri: str
    ) -> Mapping[str, Any]:
        try:
            token = await client.fetch_access_token(
                redirect_uri=redirect_uri, code=code, code_verifier=trip["verifier"]
            )
            claims = await client.parse_id_token(token, nonce=trip["nonce"])
            if claims is None:
                raise AuthError("the provider did not say who you are", hint="ask an administrator")
            found = dict(claims)
            if "preferred_username" not in found and client.server_metadata.get("userinfo_endpoint"):
                more = await client.userinfo(token=token)
                # OpenID Connect Core, 5.3.2: its word counts only for the same subject.
                found |= dict(more) if more.get("sub") == found.get("sub") else {}
        except (JoseError, AuthlibBaseError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("the provider's answer does not hold", kind=type(error).__name__)
            raise AuthError("the provider's answer does not hold", hint="begin again") from error
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error
        return found

    async def _client(self) -> Any:
        """The provider's, with metadata that is not too old and its own. UnavailableError without it."""
        if self._made is not None and time.monotonic() - self._made[0] < METADATA_S:
            return self._made[1]
        issuer = self._settings.oidc_issuer
        secret = _read_secret(self._settings.oidc_client_secret_file)
        client: Any = _library().register(
            "provider",
            client_id=self._settings.oidc_client_id,
            client_secret=secret.reveal() if secret else None,
            server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile email",
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
                "timeout": DEADLINE_S,
            },
        )
        try:
            metadata = await client.load_server_metadata()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unavailable(error) from error
        if metadata.get("issuer") != issuer:
            raise self._unavailable(ValueError("it calls itself another issuer"))
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [one for one in offered if one in ALGORITHMS]
        self._made = (time.monotonic(), client)
        return client

    def _unsealed(self, kept: str) -> dict[str, Any]:
        try:
            trip: dict[str, Any] = json.loads(self._vault.open(kept.encode()).reveal())
            if time.time() - float(trip["at"]) <= SIGN_ON_S:
                return trip
        except (HostError, ValueError, KeyError, TypeError) as error:
            raise AuthError("this sign-in was not begun here", hint="begin again") from error
        raise AuthError("signing in took too long", hint="begin again")

    def _unavailable(self, error: Exception) -> UnavailableError:
        _LOG.warning("the provider cannot be used", kind=type(error).__name__, reason=str(error)[:200])
        return UnavailableError(
            "the provider to sign on at does not answer as it should",
            hint="the controller's log says why; oidc_issuer names it",
        )


def _library() -> Any:
    """authlib's registry of clients. It takes a moment to load, and says it would prefer a newer httpx."""
    with warnings.catch_warnings():
        from authlib.deprecate import AuthlibDeprecationWarning

        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.integrations.starlette_client import OAuth
    return OAuth()


def _read_secret(path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        return Secret(path.read_text().strip())
    except OSError as error:
        raise HostError(
            f"{path} cannot be read: {error.strerror}", hint="oidc_client_secret_file names it"
        ) from error
