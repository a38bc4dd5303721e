"""A viewer's input that comes by two ways, each message once and in its order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oriel.model.errors import InvalidError

__all__ = ["Inbox"]

MOST_EARLY = 2000  # messages that wait for one before them


class Inbox:
    """Messages carry their number as `s`, from 1 on; one without is taken as it comes."""

    def __init__(self) -> None:
        self.taken = 0
        self._early: dict[int, dict[str, Any]] = {}

    def take(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What is due now. InvalidError for a number that is none, or too far ahead."""
        told = dict(message)
        number = told.pop("s", None)
        if number is None:
            yield told
            return
        if not isinstance(number, int) or isinstance(number, bool) or number - self.taken > MOST_EARLY:
            raise InvalidError("a message with a number that cannot be")
        if number > self.taken:
            self._early.setdefault(number, told)
        while (due := self._early.pop(self.taken + 1, None)) is not None:
            self.taken += 1
            yield due
