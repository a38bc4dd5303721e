"""Where keepers run: this host now, many later. The only room that knows their sockets."""

from oriel.fleet.contract import Capacity, Fleet, Occupant, RuntimeReport
from oriel.fleet.keeper import Keeper
from oriel.fleet.local import LocalHost
from oriel.fleet.plain import Plain, ask_plain

__all__ = ["Capacity", "Fleet", "Keeper", "LocalHost", "Occupant", "Plain", "RuntimeReport", "ask_plain"]
