"""Where a desktop wants to go: a host and a port, in one spelling only.

The same address has many spellings (`0x7f.1`, `2130706433`, `127.1`, `::ffff:127.0.0.1`), and every
program that resolves names reads them differently. So exactly one spelling of each kind is accepted,
and whatever merely looks like an address is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

__all__ = ["Address", "Network", "Target", "TargetError", "is_public", "parse_authority", "parse_host"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_NAME = 253  # RFC 1035, as text without the final dot
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# What a resolver may read as part of an address (the WHATWG URL "ends in a number" rule).
NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")

# IANA special-purpose registries (RFC 6890 and updates), and multicast.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
# Inside it: protocol assignments with Teredo and ORCHID, documentation, 6to4.
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16")
)


class TargetError(ValueError):
    """A target that is not spelled as one; the text says what is wrong and may be shown."""


@dataclass(frozen=True, slots=True)
class Target:
    """`host`: a lower-case name without final dot, or an address. `port`: 1 to 65535."""

    host: str | IPv4Address | IPv6Address
    port: int

    @property
    def authority(self) -> str:
        """`host:port` as it stands in a CONNECT line, IPv6 in brackets."""
        return f"{self.url_host}:{self.port}"

    @property
    def url_host(self) -> str:
        return f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)


def parse_host(text: str) -> str | IPv4Address | IPv6Address:
    """A host as in a URL (IPv6 in brackets). TargetError for anything but its one proper spelling."""
    if text.startswith("["):
        if not text.endswith("]") or "%" in text:
            raise TargetError("an IPv6 address stands in brackets, without a zone")
        try:
            return IPv6Address(text[1:-1])
        except AddressValueError as error:
            raise TargetError("what stands in the brackets is no IPv6 address") from error
    name = text.lower().removesuffix(".")
    if not name or len(name) > MAX_NAME or not name.isascii():
        raise TargetError("a host is an ASCII name of 1 to 253 characters (IDNA as xn--), or an address")
    labels = name.split(".")
    if NUMBER.match(labels[-1]):
        try:
            return IPv4Address(text)
        except AddressValueError as error:
            raise TargetError("an IPv4 address is four decimal numbers, and no name ends in one") from error
    if not all(LABEL.match(label) for label in labels):
        raise TargetError("a host name is labels of a-z, 0-9, - and _, joined by dots")
    return name


def parse_authority(text: str, *, default_port: int | None = None) -> Target:
    """`host:port`; the port may be missing only with `default_port`. TargetError, also for user info."""
    host, colon, port_text = text.rpartition(":")
    if not colon or port_text.endswith("]"):
        host, port_text = text, ""
    if port_text == "" and default_port is not None:
        port = default_port
    elif re.fullmatch(r"[0-9]{1,5}", port_text, re.ASCII) and 0 < int(port_text) < 65536:
        port = int(port_text)
    else:
        raise TargetError("a port is a number from 1 to 65535")
    return Target(parse_host(host), port)


def is_public(address: Address, also: tuple[Network, ...] = ()) -> bool:
    """Whether `address` belongs to the public internet, or to one of the networks in `also`.

    Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are never public: where they
    lead depends on the host they are used on.
    """
    if any(address in network for network in also):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def parse_network(text: str) -> Network:
    """An address or a CIDR. TargetError, also when host bits are set."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise TargetError("must be an address or a CIDR without host bits") from error


def parse_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
