"""The porter: carries viewers' screens and downloads once the controller has let them in, and outlives it.

A process of its own, as powerless as the controller. The controller hands over both ends of a connection;
from then on bytes pass here, whether there is a controller or not.
"""

from oriel.porter.client import Carried, CarriedLine, Porter

__all__ = ["Carried", "CarriedLine", "Porter"]
