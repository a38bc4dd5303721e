"""Ways out to the internet, as values. The gateway (egress/) gives them meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from oriel.model.errors import Fault, InvalidError
from oriel.model.secret import Secret

__all__ = ["EgressMode", "EgressSpec", "Policy"]


class EgressMode(StrEnum):
    NONE = "none"  # no way out at all
    DIRECT = "direct"  # the host's own address; private ranges refused
    PROXY = "proxy"  # the upstream proxies in `upstreams`, or nothing


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a desktop may reach. Entries: `host`, `*.host` (what is below it), `*`, an address or a CIDR,
    each with an optional `:port` or `:low-high` (IPv6 then in brackets).

    An empty `allow` allows all that is not denied; `deny` wins over `allow`.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max_connections: int = 1024
    connections_per_second: int = 0  # 0: unlimited
    bytes_per_second: int = 0  # 0: unlimited
    byte_quota: int = 0  # 0: unlimited; in plus out, since its round began
    quota_round: int = 0  # a higher number than ever before: from now on the quota is counted anew
    access_log: bool = False


@dataclass(frozen=True, kw_only=True)
class EgressSpec:
    """A desktop's whole way out. `upstreams` are proxy URLs with credentials, in order of preference.

    `proxy` is the name under which the operator knows it, for display. `failover`: whether a later
    upstream may serve when an earlier one fails. `direct_allow`: addresses or CIDRs that may be reached
    although they are not public (an operator's own service; a test's origin). `upstream_ca`: certificates
    (PEM text) trusted for `https://` upstreams besides the system's. `echo_url`: a web address that answers
    with its caller's; asked for the address the world sees, "" never.
    """

    mode: EgressMode = EgressMode.NONE
    proxy: str = ""
    upstreams: tuple[Secret, ...] = ()
    failover: bool = False
    policy: Policy = field(default_factory=Policy)
    direct_allow: tuple[str, ...] = ()
    upstream_ca: str = ""
    echo_url: str = ""

    def to_wire(self) -> dict[str, Any]:
        """With the secrets: only ever for a unix socket or a pipe, never for a file, log or API."""
        return {
            "mode": str(self.mode),
            "proxy": self.proxy,
            "upstreams": [secret.reveal() for secret in self.upstreams],
            "failover": self.failover,
            "policy": asdict(self.policy),
            "direct_allow": list(self.direct_allow),
            "upstream_ca": self.upstream_ca,
            "echo_url": self.echo_url,
        }

    @staticmethod
    def from_wire(data: Mapping[str, Any]) -> EgressSpec:
        """Reverses `to_wire`. InvalidError names every field that is wrong; it never quotes a value."""
        policy = data.get("policy", {})
        faults = _type_faults(data, EgressSpec(), "egress")
        faults += _type_faults(policy, Policy(), "policy") if isinstance(policy, Mapping) else []
        if data.get("mode") not in list(EgressMode):
            faults.append(Fault("mode", f"must be one of {', '.join(EgressMode)}"))
        if faults:
            raise InvalidError.of(faults)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in policy.items()}
        return EgressSpec(
            mode=EgressMode(data["mode"]),
            proxy=data.get("proxy", ""),
            upstreams=tuple(Secret(url) for url in data.get("upstreams", ())),
            failover=data.get("failover", False),
            policy=Policy(**values),
            direct_allow=tuple(data.get("direct_allow", ())),
            upstream_ca=data.get("upstream_ca", ""),
            echo_url=data.get("echo_url", ""),
        )


def _type_faults(data: Mapping[str, Any], example: EgressSpec | Policy, what: str) -> list[Fault]:
    """What in `data` is no field of `example`, or not of its type."""
    kinds = {item.name: type(getattr(example, item.name)) for item in fields(example)}
    faults = [Fault(f"{what}.{key}", "unknown field") for key in sorted(set(data) - set(kinds))]
    for key, kind in kinds.items():
        if key not in data or key == "mode":
            continue
        value = data[key]
        if kind is tuple and not (
            isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        ):
            faults.append(Fault(f"{what}.{key}", "must be a list of strings"))
        elif kind is bool and not isinstance(value, bool):
            faults.append(Fault(f"{what}.{key}", "must be true or false"))
        elif kind is str and not isinstance(value, str):
            faults.append(Fault(f"{what}.{key}", "must be a string"))
        elif kind is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            faults.append(Fault(f"{what}.{key}", "must be a whole number, 0 or more"))
        elif kind is Policy and not isinstance(value, Mapping):
            faults.append(Fault(f"{what}.{key}", "must be an object"))
    return faults
