"""Who asks, and what they may do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from oriel.model.errors import ForbiddenError

__all__ = [
    "Mode",
    "Permission",
    "Principal",
    "Reach",
    "Role",
    "allowed",
    "digest",
    "later",
    "seconds_since",
    "seconds_until",
]


class Role(StrEnum):
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


class Permission(StrEnum):
    """What a route asks for. Also the scopes of a token."""

    READ = "read"  # see desktops, their screens and events
    CONTROL = "control"  # make, change and drive them
    ADMIN = "admin"  # people, images, audit, and what belongs to others


class Mode(StrEnum):
    """What a ticket, link or share lets its holder do with one desktop."""

    CONTROL = "control"
    VIEW = "view"


class Reach(StrEnum):
    """How far somebody reaches into one desktop. Only who owns it may change, share or delete it."""

    OWN = "own"
    CONTROL = "control"
    VIEW = "view"


_OF_ROLE: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.USER: frozenset({Permission.READ, Permission.CONTROL}),
    Role.VIEWER: frozenset({Permission.READ}),
}


def allowed(role: str) -> frozenset[Permission]:
    """What users of this role may at most."""
    return _OF_ROLE[Role(role)]


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks. A guest has a `link` to one `desktop`, and no account: `user_id` is who gave it to them."""

    name: str
    user_id: str
    role: str
    permissions: frozenset[Permission]
    token_id: str = ""
    token_name: str = ""  # by which people tell programs apart
    session: str = ""  # digest of the session, if the page asks by its cookie
    link: str = ""
    desktop: str = ""
    expires_at: str | None = None

    @property
    def key(self) -> str:
        """For limits: each credential has its own."""
        return (
            f"link {self.link}" if self.link else f"session {self.session}" if self.session else self.token_id
        )

    @property
    def hand(self) -> str:
        """For who drives: what belongs to one token, one link or one signed-in user counts as one hand."""
        return f"link {self.link}" if self.link else self.token_id or f"user {self.user_id}"

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        if permission in self.permissions:
            return
        raise ForbiddenError(
            f"this needs the permission {permission!r}",
            hint="ask an administrator, or use a token with that scope",
        )


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def later(seconds: float) -> str:
    """The time in `seconds` from now, as `utc_now` writes it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since(time: str) -> float:
    """From `time` until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def seconds_until(time: str | None) -> float | None:
    """From now until `time`, not below 0; None if that is never."""
    if time is None:
        return None
    return max(0.0, (datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds())
