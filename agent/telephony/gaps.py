"""Sound that was lost on the way is replaced by silence, so that the caller's time stays true."""

from __future__ import annotations

MAX_FILL = 0.2
"""Seconds of silence for one gap; a longer gap is a pause, in which nothing was sent."""
TOLERANCE = 0.005
"""Seconds by which timestamps may be off."""


class Continuity:
    """Compares the peer's timestamps with the sound that came.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._expected: float | None = None

    def lost(self, at: float | None, samples: int) -> int:
        """Samples that are missing before a piece of ``samples`` that begins at second ``at``."""
        if at is None:
            return 0
        gap = 0.0 if self._expected is None else at - self._expected
        self._expected = at + samples / self._rate
        return round(min(gap, MAX_FILL) * self._rate) if gap > TOLERANCE else 0
