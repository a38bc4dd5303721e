"""How much may be sent to a viewer: from what it says of the packets' arrival (TWCC). Pure.

Small increases, a large decrease, as Google's congestion control (draft-ietf-rmcat-gcc) has it at its
simplest: packets that come ever later mean a queue that fills; so do losses that repetition cannot hide.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CEILING_KBPS", "FLOOR_KBPS", "START_KBPS", "Rate", "Report", "frames_for", "scale_for"]

START_KBPS, FLOOR_KBPS, CEILING_KBPS = 8000, 120, 20_000
QUEUE_MS = 30.0  # by so much later than sent: a queue has formed
LOSS = 0.08  # share; less is what repetition is for
BACK = 0.85  # of what arrived
GROWTH = 1.04  # each report, while what may be sent is used
HOLD_S = 1.0  # after a decrease


@dataclass(frozen=True)
class Report:
    """What came of the packets since the last report."""

    sent_kbps: float
    received_kbps: float
    loss: float  # share, 0 to 1
    later_ms: float  # by how much their spacing has grown on the way, in all


def frames_for(kbps: float) -> float:
    """Pictures a second that so much is enough for: a sharp one rather than three that nobody can read."""
    return 60.0 if kbps >= 2000 else 30.0 if kbps >= 700 else 15.0


def scale_for(kbps: float, scale: float) -> float:
    """How large pictures are, of the screen's size, where they were `scale`: the last thing that is given up.

    Every change costs a key frame, so the way back is longer than the way there.
    """
    lower = 0.5 if kbps < 180 else 0.75 if kbps < 350 else 1.0
    upper = 0.5 if kbps < 300 else 0.75 if kbps < 600 else 1.0
    return min(scale, lower) if lower < scale else max(scale, upper)


class Rate:
    """The rate for one viewer."""

    def __init__(self) -> None:
        self.kbps = float(START_KBPS)
        self._queue_ms = 0.0
        self._held_until = 0.0

    def take(self, report: Report, now: float) -> float:
        """The rate from now on."""
        self._queue_ms = max(0.0, self._queue_ms * 0.9 + report.later_ms)
        if report.loss > LOSS or self._queue_ms > QUEUE_MS:
            if now >= self._held_until:
                lower = min(self.kbps, max(report.received_kbps, FLOOR_KBPS)) * BACK
                self.kbps = max(FLOOR_KBPS, min(lower, self.kbps * BACK))
                self._held_until = now + HOLD_S
                self._queue_ms = 0.0
        elif now >= self._held_until and report.sent_kbps > self.kbps / 3:
            # Who sends little learns little: what was never tried is not believed.
            self.kbps = min(CEILING_KBPS, self.kbps * GROWTH + 10)
        elif now >= self._held_until and self.kbps < START_KBPS / 2:
            self.kbps *= 1.01  # a quiet screen after a bad minute: slowly up again
        return self.kbps
