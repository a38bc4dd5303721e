"""What has changed on the screen, and when the next picture of it is due. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Band", "Pace"]

# After the last change the same picture is encoded again at these times, in seconds: each time what was
# coarse for want of bits gets finer. Afterwards nothing is sent.
REFINEMENTS = (0.05, 0.1, 0.16, 0.24)


@dataclass
class Band:
    """The rows that changed since they were last taken; empty if `bottom` <= `top`."""

    top: int = 0
    bottom: int = 0

    def add(self, top: int, bottom: int) -> None:
        if self:
            self.top, self.bottom = min(self.top, top), max(self.bottom, bottom)
        else:
            self.top, self.bottom = top, bottom

    def take(self, height: int) -> tuple[int, int]:
        """The rows to read on a screen of `height`, from an even one to an even one; nothing is left."""
        top, bottom = max(0, self.top) & ~1, min(height, self.bottom + 1 & ~1)
        self.top = self.bottom = 0
        return top, max(top, bottom)

    def __bool__(self) -> bool:
        return self.bottom > self.top


@dataclass
class Pace:
    """When a picture may be taken: at once after a pause, then at most `fps` a second; then refinements."""

    fps: float = 60.0
    _last: float = -1.0
    _changed: float = -1.0
    _left: list[float] = field(default_factory=list)

    def due(self, now: float, *, changed: bool) -> float | None:
        """Seconds until the next picture, 0 for at once, None for none."""
        free = max(0.0, self._last + 1 / self.fps - now)
        if changed:
            return free
        if self._left:
            return max(free, self._changed + self._left[0] - now, 0.0)
        return None

    def took(self, now: float, *, changed: bool) -> None:
        """A picture was taken: of a change, or one to refine the last."""
        self._last = now
        if changed:
            self._changed, self._left = now, list(REFINEMENTS)
        elif self._left:
            self._left.pop(0)

    def again(self) -> None:
        """The last picture is wanted once more, if it is not to be refined anyway."""
        self._left = self._left or [0.0]
