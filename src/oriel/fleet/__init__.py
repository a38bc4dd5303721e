"""Where keepers run: this host now, many later. The only room that knows their sockets."""

from oriel.fleet.contract import Capacity, Fleet, Occupant, RuntimeReport
from oriel.fleet.keeper import Keeper
from oriel.fleet.local import LocalHost

__all__ = ["Capacity", "Fleet", "Keeper", "LocalHost", "Occupant", "RuntimeReport"]
