"""Sound that was lost on the way is replaced by silence, so that the caller's time stays true."""

from __future__ import annotations

MAX_FILL = 0.2
"""Seconds of silence for one gap; a longer gap is a pause, in which nothing was sent."""
TOLERANCE = 0.015
"""Seconds by which timestamps may be off; less than a packet."""
RESTART = 1.0
"""Timestamps that fall back by more than this begin anew."""


class GapFiller:
    """Compares the peer's timestamps with the sound that came.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._end: float | None = None
        """Second at which the sound so far ends; timestamps that tremble do not move it."""

    def lost(self, at: float | None, samples: int) -> int:
        """Samples that are missing before a piece of ``samples`` that begins at second ``at``."""
        if at is None:
            return 0
        length = samples / self._rate
        if self._end is None or at < self._end - RESTART:
            self._end = at
        gap = at - self._end
        if gap <= TOLERANCE:
            self._end += length
            return 0
        self._end = at + length
        return round(min(gap, MAX_FILL) * self._rate)
