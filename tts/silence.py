"""Silence at the ends of speech: cut before the first sound, set to a length after the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUDIBLE = 0.005
"""Samples below this magnitude (-46 dBFS) count as silence."""
LEAD_SECONDS = 0.01
"""Seconds of silence kept before the first sound, for the onset of soft consonants."""


class LeadTrimmer:
    """Cuts the silence before the first sound of a stream of pieces."""

    def __init__(self, rate: int) -> None:
        self._keep = round(LEAD_SECONDS * rate)
        self._heard = False

    def trim(self, piece: NDArray[np.float32]) -> int:
        """How many samples to drop from the start of the next piece (all of a silent one)."""
        if self._heard:
            return 0
        loud = np.flatnonzero(np.abs(piece) >= AUDIBLE)
        if not len(loud):
            return len(piece)
        self._heard = True
        return max(0, int(loud[0]) - self._keep)


def set_pause(piece: NDArray[np.float32], seconds: float, rate: int) -> NDArray[np.float32]:
    """Cut or lengthen the silence after the last sound; at least one sample remains."""
    loud = np.flatnonzero(np.abs(piece) >= AUDIBLE)
    length = (int(loud[-1]) + 1 if len(loud) else 0) + round(seconds * rate)
    length = max(1, length)
    kept = piece[:length]
    return np.concatenate([kept, np.zeros(length - len(kept), np.float32)])
