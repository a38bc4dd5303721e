"""`oriel image verify`: a booted image, looked at from inside."""

from oriel.image.verify.inside import Inside, Verdict
from oriel.image.verify.inspection import verify
from oriel.image.verify.packages import Mirror

__all__ = ["Inside", "Mirror", "Verdict", "verify"]
