"""The tones of a telephone's keys (ITU-T Q.23): two frequencies at once for each key."""

from __future__ import annotations

import numpy as np

from agent.audio.samples import Samples

ROWS = (697.0, 770.0, 852.0, 941.0)
COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = ("123A", "456B", "789C", "*0#D")
TONE_SECONDS, GAP_SECONDS = 0.1, 0.08
PAUSE_SECONDS = 0.5
"""Length of a ``w``."""
LEVEL = 0.25
"""Amplitude of each frequency."""
_RAMP_SECONDS = 0.005


def key_tones(digits: str, rate: int) -> Samples:
    """The sound of keys, float32 mono ``[n]``, with a gap after each.

    Args:
        digits: of ``0-9 * # A-D``; ``w`` is a pause.
        rate: samples per second.

    Raises:
        ValueError: there is another character.
    """
    return np.concatenate([np.zeros(0, np.float32), *(_sound(each, rate) for each in digits)])


def _sound(digit: str, rate: int) -> Samples:
    if digit == "w":
        return np.zeros(round(PAUSE_SECONDS * rate), np.float32)
    row = next((index for index, keys in enumerate(KEYS) if digit in keys), None)
    if row is None:
        raise ValueError(f"{digit!r} is no key of a telephone")
    frequencies = ROWS[row], COLUMNS[KEYS[row].index(digit)]
    at = np.arange(round(TONE_SECONDS * rate)) / rate
    ramp = np.minimum(1.0, np.minimum(at, at[::-1]) / _RAMP_SECONDS)
    tone = sum(np.sin(2 * np.pi * each * at) for each in frequencies) * LEVEL * ramp
    gap = np.zeros(round(GAP_SECONDS * rate), np.float32)
    return np.concatenate([tone.astype(np.float32), gap])
