"""A glance: the first words of a sound, from a much shorter window than `asr.window` allows.

The encoder's time grows with its window, and so short a one makes the decoder repeat itself: "stop"
becomes "stop stop stop". Whether the caller said a word twice does not matter to a glance, so that
repetitions are folded and the decoder is stopped early.
"""

from __future__ import annotations

import re
from typing import Final

from asr.window import FRAMES_PER_SECOND

GLANCE: Final = 5 * FRAMES_PER_SECOND
"""Frames of the smallest window of a glance."""
LONGEST_GLANCE: Final = 3.0
"""Seconds of sound from which on a glance is no better than a hypothesis, and takes as long."""
GLANCE_TOKENS: Final = 7
"""Most tokens of a glance: its first words are enough."""

_LONGEST_PERIOD = 4
"""Words of the longest repeated phrase that is looked for."""


def folded(text: str) -> str:
    """The text without repetitions up to its end: "Hold on. Hold on. Ho" is "Hold on.".

    The last word may be cut off by the bound on tokens.
    """
    words = text.split()
    plain = [re.sub(r"\W+", "", word).casefold() for word in words]
    for period in range(1, min(_LONGEST_PERIOD, len(words) - 1) + 1):
        if _repeats(plain, period):
            return " ".join(words[:period])
    return text


def _repeats(words: list[str], period: int) -> bool:
    """Whether each word is the one ``period`` before it; the last may be its beginning."""
    pairs = list(zip(words[period:], words, strict=False))
    *whole, (last, model) = pairs
    return all(later == earlier for later, earlier in whole) and model.startswith(last)
