"""Emptying a host: nothing new starts on it, what is under way ends, what runs goes on."""

from __future__ import annotations

from oriel.model.errors import UnavailableError

__all__ = ["Draining"]


class Draining:
    """Ends with the controller: the next one, as after an upgrade, takes everything again."""

    def __init__(self) -> None:
        self.on = False

    def check(self) -> None:
        """UnavailableError while nothing is to begin."""
        if self.on:
            raise UnavailableError(
                "this host takes nothing new just now: it is being upgraded or emptied",
                hint="try again in a few minutes; the operator ends it with `oriel drain --off`",
                code="draining",
            )
