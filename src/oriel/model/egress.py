"""Ways out to the internet, as values. The gateway (egress/) gives them meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from oriel.model.secret import Secret

__all__ = ["EgressMode", "EgressSpec", "Policy"]


class EgressMode(StrEnum):
    NONE = "none"  # no way out at all
    DIRECT = "direct"  # the host's own address; private ranges refused
    PROXY = "proxy"  # the upstream proxies in `upstreams`, or nothing


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a desktop may reach. Entries: `host`, `*.host`, CIDR, each with an optional `:port`.

    An empty `allow` allows all that is not denied; `deny` wins over `allow`.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max_connections: int = 1024
    bytes_per_second: int = 0  # 0: unlimited
    byte_quota: int = 0  # 0: unlimited; in plus out, since the gateway began
    access_log: bool = False


@dataclass(frozen=True, kw_only=True)
class EgressSpec:
    """A desktop's whole way out. `upstreams` are proxy URLs with credentials, in order of preference.

    `proxy` is the name under which the operator knows it, for display. `failover`: whether a later
    upstream may serve when an earlier one fails.
    """

    mode: EgressMode = EgressMode.NONE
    proxy: str = ""
    upstreams: tuple[Secret, ...] = ()
    failover: bool = False
    policy: Policy = field(default_factory=Policy)

    def to_wire(self) -> dict[str, Any]:
        """With the secrets: only ever for a unix socket or a pipe, never for a file, log or API."""
        return {
            "mode": str(self.mode),
            "proxy": self.proxy,
            "upstreams": [secret.reveal() for secret in self.upstreams],
            "failover": self.failover,
            "policy": {
                "allow": list(self.policy.allow),
                "deny": list(self.policy.deny),
                "max_connections": self.policy.max_connections,
                "bytes_per_second": self.policy.bytes_per_second,
                "byte_quota": self.policy.byte_quota,
                "access_log": self.policy.access_log,
            },
        }

    @staticmethod
    def from_wire(data: Mapping[str, Any]) -> EgressSpec:
        policy = dict(data.get("policy", {}))
        for key in ("allow", "deny"):
            policy[key] = tuple(policy.get(key, ()))
        return EgressSpec(
            mode=EgressMode(data["mode"]),
            proxy=str(data.get("proxy", "")),
            upstreams=tuple(Secret(url) for url in data.get("upstreams", ())),
            failover=bool(data.get("failover", False)),
            policy=Policy(**policy),
        )
