"""When not to believe the decoder: it loops in short windows and talks over silence.

Whisper's own fall-back thresholds (Radford et al., "Robust Speech Recognition via Large-Scale
Weak Supervision", 2022, section 4.5) are `MAX_COMPRESSION`, `MIN_LOGPROB` and `MAX_NO_SPEECH`.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

MAX_COMPRESSION = 2.4
MIN_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6

TOKENS_PER_SECOND = 7
"""Bound on the tokens of a second of speech; fast speech has about 5."""
EXTRA_TOKENS = 12
"""Added to the bound, so that punctuation and rare words in a short utterance fit."""

MIN_SPEECH_SECONDS = 0.1
"""Less speech than this is a click or a breath, whatever the decoder says."""

_STUTTER = re.compile(r"\b(\w+)(?:\W+\1\b){2}|\b(\w+(?:\W+\w+){1,3})\W+\2\b")
"""A word three times in a row, or two to four words twice in a row."""

_RESTART_WORDS = 5


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder said about one window, and how sure it was."""

    text: str
    avg_logprob: float
    """Mean natural logarithm of the tokens' probabilities, end of text included."""
    no_speech_prob: float
    complete: bool
    """The decoder ended by itself, not at the bound on tokens."""


def max_tokens(seconds: float) -> int:
    """Bound on the tokens that ``seconds`` of sound can hold."""
    return int(TOKENS_PER_SECOND * seconds) + EXTRA_TOKENS


def compression_ratio(text: str) -> float:
    """Length over deflated length of the text in UTF-8; a loop has a high one."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def is_loop(decoded: Decoded) -> bool:
    """Whether the decoder certainly ran away."""
    return not decoded.complete or compression_ratio(decoded.text) > MAX_COMPRESSION


def is_doubtful(decoded: Decoded) -> bool:
    """Whether a longer window should be asked.

    A word said three times or a phrase said twice may be the caller's: a second opinion decides.
    """
    return (
        is_loop(decoded)
        or decoded.avg_logprob < MIN_LOGPROB
        or _STUTTER.search(decoded.text.casefold()) is not None
        or _restarts(decoded.text)
    )


def _restarts(text: str) -> bool:
    """Whether five words in a row come back later: the decoder began the sentence again."""
    words = re.findall(r"\w+", text.casefold())
    runs = [tuple(words[i : i + _RESTART_WORDS]) for i in range(len(words) - _RESTART_WORDS + 1)]
    return len(set(runs)) < len(runs)


def is_hallucination(decoded: Decoded) -> bool:
    """Whether the text was made up over something that is not speech."""
    if not any(character.isalnum() for character in decoded.text):
        return True
    return decoded.no_speech_prob > MAX_NO_SPEECH and decoded.avg_logprob < MIN_LOGPROB
