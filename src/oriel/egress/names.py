"""Fake addresses: one of 198.18.0.0/15 stands for each name the guest asked for.

A program that ignores proxies connects to such an address, is captured, and its name is known again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from ipaddress import IPv4Address, IPv4Network

from oriel.model.link import FAKE_NETWORK

__all__ = ["FakeNames"]

MAX_NAMES = 8192  # the least recently used is forgotten first


class FakeNames:
    """Names and addresses, one to one. An address is derived from its name, so that a gateway that is
    started anew gives the same ones again (as long as no two names collide)."""

    def __init__(self, *, limit: int = MAX_NAMES) -> None:
        network = IPv4Network(FAKE_NETWORK)
        self._first = int(network.network_address) + 1
        self._size = network.num_addresses - 2
        self._limit = min(limit, self._size // 2)
        self._by_name: OrderedDict[str, int] = OrderedDict()
        self._by_slot: dict[int, str] = {}

    def address_of(self, name: str) -> IPv4Address:
        """The address that stands for `name` (lower case, no final dot)."""
        slot = self._by_name.get(name)
        if slot is None:
            if len(self._by_name) >= self._limit:
                _, oldest = self._by_name.popitem(last=False)
                del self._by_slot[oldest]
            slot = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % self._size
            while slot in self._by_slot:  # ends: at most half of the slots are taken
                slot = (slot + 1) % self._size
            self._by_name[name] = slot
            self._by_slot[slot] = name
        self._by_name.move_to_end(name)
        return IPv4Address(self._first + slot)

    def name_of(self, address: IPv4Address) -> str | None:
        """The name `address` stands for, None if for none (any more)."""
        name = self._by_slot.get(int(address) - self._first)
        if name is not None:
            self._by_name.move_to_end(name)
        return name

    def __len__(self) -> int:
        return len(self._by_name)
