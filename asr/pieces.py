"""Division of utterances longer than the recogniser's window, at their quietest points."""

from __future__ import annotations

import numpy as np

from asr.engine import RATE, Samples

LONGEST = 30 * RATE
"""Samples of Whisper's full window, 30 s."""

_EARLIEST = 15 * RATE
_BLOCK = RATE // 50
_QUIET_BLOCKS = 10


def first_cut(samples: Samples) -> int | None:
    """Sample at which the first piece of a long utterance ends; None if it fits one window.

    The cut is the middle of the quietest 200 ms between 15 s and 30 s. It depends on the first 30 s
    alone, so sound that arrives later does not move it.
    """
    if len(samples) <= LONGEST:
        return None
    region = samples[_EARLIEST:LONGEST]
    energy = np.square(region, dtype=np.float32).reshape(-1, _BLOCK).sum(axis=1)
    quiet = np.convolve(energy, np.ones(_QUIET_BLOCKS, dtype=np.float32), mode="valid")
    middle = int(np.argmin(quiet)) + _QUIET_BLOCKS // 2
    return _EARLIEST + middle * _BLOCK
