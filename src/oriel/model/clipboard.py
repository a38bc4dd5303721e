"""What a clipboard carries between viewers and a desktop, how much of it, and which way it may go."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HTML", "IMAGE", "MOST_BYTES", "TEXT", "Way"]

TEXT, HTML, IMAGE = "text/plain", "text/html", "image/png"
MOST_BYTES = {TEXT: 2 << 20, HTML: 2 << 20, IMAGE: 16 << 20}


class Way(StrEnum):
    """As the desktop sees it: what is copied elsewhere comes `in`, what is copied in it goes `out`."""

    OFF = "off"
    IN = "in"
    OUT = "out"
    BOTH = "both"

    @property
    def takes(self) -> bool:
        return self in (Way.IN, Way.BOTH)

    @property
    def gives(self) -> bool:
        return self in (Way.OUT, Way.BOTH)
