"""Names to addresses on the host's side, for upstreams and for direct mode only."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict

from oriel.egress.target import Address, parse_address

__all__ = ["Resolver", "is_of_this_host"]

KEEP_S = 30.0
MAX_NAMES = 1024
DEADLINE_S = 8.0


class Resolver:
    """Asks the system's resolver; remembers an answer for KEEP_S."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, tuple[Address, ...]]] = OrderedDict()

    async def resolve(self, host: str | Address) -> tuple[Address, ...]:
        """The addresses of `host`, IPv4 first. OSError if there is none, TimeoutError after 8 s."""
        if not isinstance(host, str):
            return (host,)
        loop = asyncio.get_running_loop()
        known = self._known.get(host)
        if known is not None and known[0] > loop.time():
            return known[1]
        async with asyncio.timeout(DEADLINE_S):
            answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = (parse_address(str(answer[4][0])) for answer in answers)
        addresses = tuple(sorted(dict.fromkeys(a for a in found if a is not None), key=lambda a: a.version))
        if not addresses:
            raise OSError("the name has no address")
        self._known[host] = (loop.time() + KEEP_S, addresses)
        self._known.move_to_end(host)
        if len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return addresses

    def remembered(self, host: str | Address) -> tuple[Address, ...]:
        """What `host` last resolved to, without asking anyone."""
        if not isinstance(host, str):
            return (host,)
        known = self._known.get(host)
        return known[1] if known is not None else ()


def is_of_this_host(address: Address) -> bool:
    """Whether the kernel would deliver `address` to this host itself: then it is also its source."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # a datagram socket: nothing is sent
        except OSError:
            return False
        return parse_address(str(probe.getsockname()[0])) == address
