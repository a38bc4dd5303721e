"""What a desktop may reach, decided. Pure: no name is looked up here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from oriel.egress.target import Address, Network, Target, TargetError, is_public, parse_host, parse_network
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.errors import Fault, InvalidError

__all__ = ["Reason", "Rule", "Ruleset", "parse_rule"]

# Names that mean "this machine" or "this network" (RFC 6761, RFC 8375, RFC 9476, and cloud practice).
LOCAL_SUFFIXES = (
    "localhost", "localdomain", "ip6-localhost", "ip6-loopback", "local", "internal",
    "intranet", "lan", "arpa",
)  # fmt: skip


class Reason(StrEnum):
    """Why something was denied: stable, counted, shown. Their order is that of the ledger's file: append."""

    MODE_NONE = "mode_none"  # the desktop has no way out
    DENY_RULE = "deny_rule"
    NOT_ALLOWED = "not_allowed"  # there is an allow list, and it is not on it
    NOT_PUBLIC = "not_public"  # private, loopback, link-local, … address
    LOCAL_NAME = "local_name"  # localhost, *.internal, …
    HOST_ITSELF = "host_itself"  # one of the host's own addresses
    UPSTREAM_ITSELF = "upstream_itself"
    BAD_TARGET = "bad_target"  # an odd spelling, a bad port
    BAD_REQUEST = "bad_request"  # HTTP that is ambiguous or malformed
    UNMAPPED = "unmapped"  # a fake address that no DNS answer stands for
    CONNECTIONS = "connections"  # too many at once
    RATE = "rate"  # too many per second
    QUOTA = "quota"  # the byte quota is used up


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a policy. `host`: "" for any, a name, or with `below` what is below that name."""

    host: str | IPv4Address | IPv6Address = ""
    below: bool = False
    network: Network | None = None
    low: int = 1
    high: int = 65535

    def matches(self, target: Target) -> bool:
        if not self.low <= target.port <= self.high:
            return False
        if self.network is not None:
            return not isinstance(target.host, str) and target.host in self.network
        if self.host == "":
            return True
        if self.below:
            return isinstance(target.host, str) and target.host.endswith(f".{self.host}")
        return target.host == self.host


def parse_rule(text: str) -> Rule:
    """`host`, `*.host`, `*`, address or CIDR, each with optional `:port` or `:low-high`. TargetError."""
    host, low, high = _split_ports(text.strip())
    if host == "*":
        return Rule(low=low, high=high)
    if host.startswith("*."):
        name = parse_host(host[2:])
        if not isinstance(name, str):
            raise TargetError("*. stands before a name, not an address")
        return Rule(host=name, below=True, low=low, high=high)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if "/" in bare or ":" in bare:
        return Rule(network=parse_network(bare), low=low, high=high)
    name = parse_host(host)
    if isinstance(name, str):
        return Rule(host=name, low=low, high=high)
    return Rule(network=parse_network(bare), low=low, high=high)


def _split_ports(text: str) -> tuple[str, int, int]:
    host, colon, ports = text.rpartition(":")
    # A bare IPv6 address or CIDR has colons of its own, and no port.
    if not colon or ports.endswith("]") or (":" in host and not host.endswith("]")):
        return text, 1, 65535
    low, dash, high = ports.partition("-")
    if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
        raise TargetError("after the colon comes a port or low-high")
    first, last = int(low), int(high or low)
    if not 1 <= first <= last <= 65535:
        raise TargetError("a port is a number from 1 to 65535")
    return host, first, last


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A compiled EgressSpec, as far as targets are concerned."""

    mode: EgressMode = EgressMode.NONE
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    exempt: tuple[Network, ...] = ()  # addresses that may be reached although not public

    @staticmethod
    def compile(spec: EgressSpec) -> Ruleset:
        """InvalidError with every entry that is wrong."""
        faults: list[Fault] = []
        allow = _parse_rules("policy.allow", spec.policy.allow, faults)
        deny = _parse_rules("policy.deny", spec.policy.deny, faults)
        exempt: list[Network] = []
        for index, text in enumerate(spec.direct_allow):
            try:
                exempt.append(parse_network(text))
            except TargetError as error:
                faults.append(Fault(f"direct_allow[{index}]", str(error)))
        if faults:
            raise InvalidError.of(faults, hint="an entry is host, *.host, an address or CIDR, then :port")
        return Ruleset(spec.mode, allow, deny, tuple(exempt))

    def refuses(self, target: Target) -> Reason | None:
        """Why `target`, as it was asked for, may not be reached; None if it may.

        A name that passes may still be refused by `refuses_address` once it is resolved.
        """
        if self.mode is EgressMode.NONE:
            return Reason.MODE_NONE
        host = target.host
        if isinstance(host, str):
            if any(host == suffix or host.endswith(f".{suffix}") for suffix in LOCAL_SUFFIXES):
                return Reason.LOCAL_NAME
        elif not is_public(host, self.exempt):
            return Reason.NOT_PUBLIC
        if any(rule.matches(target) for rule in self.deny):
            return Reason.DENY_RULE
        if self.allow and not any(rule.matches(target) for rule in self.allow):
            # In direct mode a name may yet be allowed by the network of its address.
            resolvable = isinstance(host, str) and self.mode is EgressMode.DIRECT
            if not (resolvable and any(rule.network is not None for rule in self.allow)):
                return Reason.NOT_ALLOWED
        return None

    def refuses_address(self, target: Target, address: Address) -> Reason | None:
        """The same for an address that the name in `target` resolved to (direct mode only)."""
        if not is_public(address, self.exempt):
            return Reason.NOT_PUBLIC
        resolved = Target(address, target.port)
        if any(rule.matches(resolved) for rule in self.deny):
            return Reason.DENY_RULE
        if self.allow and not any(rule.matches(target) or rule.matches(resolved) for rule in self.allow):
            return Reason.NOT_ALLOWED
        return None


def _parse_rules(what: str, entries: Iterable[str], faults: list[Fault]) -> tuple[Rule, ...]:
    rules = []
    for index, text in enumerate(entries):
        try:
            rules.append(parse_rule(text))
        except TargetError as error:
            faults.append(Fault(f"{what}[{index}]", str(error)))
    return tuple(rules)
