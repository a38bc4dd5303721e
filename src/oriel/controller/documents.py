"""What the API shows of things. Whatever is not named here stays inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from oriel.controller.store.desktops import Desktop
from oriel.controller.store.people import Token, User
from oriel.controller.store.proxies import Proxy, Use
from oriel.controller.store.quotas import Usage
from oriel.controller.store.shares import Link, Share
from oriel.model.spec import Rates

__all__ = [
    "desktop_document",
    "desktop_json",
    "link_document",
    "proxy_document",
    "quota_document",
    "reduced_document",
    "share_document",
    "shared_document",
    "token_document",
    "user_document",
]


def desktop_document(desktop: Desktop, base_url: str, country: str = "") -> dict[str, Any]:
    """The desktop object (CONTRACT). `country`: of the address the world sees."""
    return reduced_document(desktop, base_url) | {
        "owner": desktop.owner,
        "session_id": desktop.session_id,
        "image": desktop.image,
        "vcpus": desktop.vcpus,
        "memory_mib": desktop.memory_mib,
        "disk_gib": desktop.disk_gib,
        "rates": Rates(**desktop.rates).to_json(),
        "proxy": desktop.proxy,
        "exit": {"ip": desktop.exit_ip, "was": desktop.exit_was, "country": country},
        "idle_timeout_s": desktop.idle_timeout_s,
        "idle_action": desktop.idle_action,
        "max_age_s": desktop.max_age_s,
        "restart": desktop.restart,
        "labels": dict(desktop.labels),
        "error": dict(desktop.error) if desktop.error else None,
        "access": "own",
    }


def shared_document(desktop: Desktop, base_url: str, access: str) -> dict[str, Any]:
    """What a user sees of a desktop that is shared with them: whose it is, and how far they reach."""
    return reduced_document(desktop, base_url) | {"owner": desktop.owner, "access": access}


NOBODY = {"driver": None, "viewers": 0}


@lru_cache(4096)
def desktop_json(desktop: Desktop, base_url: str, country: str = "") -> bytes:
    """The same as JSON, of one that nobody looks at. A list shows most desktops as the one before it did."""
    return to_json(desktop_document(desktop, base_url, country) | NOBODY)


def reduced_document(desktop: Desktop, base_url: str) -> dict[str, Any]:
    """What the holder of a link sees: nothing of its owner, its way out or its insides."""
    return {
        "id": desktop.id,
        "name": desktop.name,
        "owner": "",
        "session_id": "",
        "state": str(desktop.state),
        "runtime": str(desktop.runtime),
        "isolation": str(desktop.isolation),
        "image": "",
        "screen": {"width": desktop.screen_width, "height": desktop.screen_height},
        "proxy": None,
        "exit": None,
        "viewer_url": f"{base_url}/desktops/{desktop.name}",
        "clipboard": str(desktop.clipboard),
        "created_at": desktop.created_at,
        "ready_at": desktop.ready_at,
        "timings": dict(desktop.timings),
        "error": None,
        "access": "",
    }


def proxy_document(proxy: Proxy, uses: Sequence[Use], *, in_use: int) -> dict[str, Any]:
    """`uses`: the desktops that may be told of; `in_use`: how many of its addresses any desktop uses."""
    first = proxy.addresses[0]
    scheme, _, rest = first.partition("://")
    host, _, port = rest.rpartition(":")
    return {
        "id": proxy.id, "name": proxy.name, "owner": proxy.owner, "url": first, "scheme": scheme,
        "host": host.strip("[]"), "port": port, "addresses": len(proxy.addresses), "in_use": in_use,
        "exclusive": proxy.exclusive, "shared": proxy.shared, "failover": proxy.failover,
        "has_password": proxy.has_password,
        "desktops": [
            {"name": use.desktop, "owner": use.owner, "address": proxy.addresses[use.place]} for use in uses
        ],
        "labels": dict(proxy.labels), "created_at": proxy.created_at,
    }  # fmt: skip


def user_document(user: User) -> dict[str, Any]:
    return {
        "id": user.id, "name": user.name, "role": user.role, "created_at": user.created_at,
        "has_password": user.has_password, "subject": user.subject.partition(" ")[2] or None,
        "quota": dict(user.quota),
    }  # fmt: skip


def quota_document(limits: dict[str, int | None], usage: Usage) -> dict[str, Any]:
    """What somebody may have at most (null: no limit), and has."""
    return {"limits": limits, "usage": asdict(usage)}


def token_document(token: Token) -> dict[str, Any]:
    return {
        "id": token.id, "name": token.name, "user": token.user, "scopes": list(token.scopes),
        "created_at": token.created_at, "expires_at": token.expires_at, "last_used_at": token.last_used_at,
    }  # fmt: skip


def share_document(share: Share) -> dict[str, Any]:
    return {
        "id": share.id, "kind": "user", "user": share.user, "mode": share.mode,
        "created_at": share.created_at, "expires_at": share.expires_at, "opened_at": None,
    }  # fmt: skip


def link_document(link: Link) -> dict[str, Any]:
    """`user`: who gave it."""
    return {
        "id": link.id, "kind": "link", "user": link.giver, "mode": link.mode, "created_at": link.created_at,
        "expires_at": link.expires_at, "opened_at": link.opened_at,
    }  # fmt: skip
