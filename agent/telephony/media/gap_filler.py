"""Lost audio is replaced by silence, so that the caller's time stays true."""

from __future__ import annotations

MAX_FILL = 0.2
"""Seconds of silence for one gap, at most; a longer gap is a pause of the sender."""
TOLERANCE = 0.015
"""Seconds by which timestamps may jitter; less than a packet."""
RESTART = 1.0
"""Seconds; timestamps that fall back by more than this begin a new count."""


class GapFiller:
    """Compares the peer's timestamps with the length of the received audio.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._end: float | None = None
        """Second at which the audio so far ends; jitter of timestamps does not move it."""

    def lost(self, at: float | None, samples: int) -> int:
        """Number of samples that were lost before a piece.

        Args:
            at: second at which the piece begins, by the peer's timestamp; None where it has none.
            samples: length of the piece.
        """
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
