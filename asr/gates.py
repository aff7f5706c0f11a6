"""Guards against the decoder's errors: loops in short windows, text over silence.

Whisper's own fall-back thresholds (Radford et al., "Robust Speech Recognition via Large-Scale
Weak Supervision", 2022, section 4.5) are `MAX_COMPRESSION`, `MIN_LOGPROB` and `MAX_NO_SPEECH`.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

MAX_COMPRESSION = 2.4
"""Compression ratio above which a text counts as a loop."""
MIN_LOGPROB = -1.0
"""Mean log-probability (natural) below which a text is doubtful."""
MAX_NO_SPEECH = 0.6
"""Probability of no speech above which a doubtful text is dropped."""

TOKENS_PER_SECOND = 7
"""Bound on the tokens of a second of speech; fast speech has about 5."""
EXTRA_TOKENS = 12
"""Tokens added to the bound, so that punctuation and rare words in a short utterance fit."""

MIN_SPEECH_SECONDS = 0.1
"""Shortest speech that is decoded; less is a click or a breath."""

_STUTTER = re.compile(r"\b(\w+)(?:\W+\1\b){2}|\b(\w+(?:\W+\w+){1,3})\W+\2\b")
"""Pattern of a word three times in a row, or of two to four words twice in a row."""

_RESTART_WORDS = 5


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of decoding one window.

    Attributes:
        text: the words.
        avg_logprob: mean natural logarithm of the tokens' probabilities, end of text included.
        no_speech_prob: probability that the window has no speech.
        complete: whether the decoder ended by itself rather than at the bound on tokens.
    """

    text: str
    avg_logprob: float
    no_speech_prob: float
    complete: bool


def max_tokens(seconds: float) -> int:
    """Largest number of tokens in ``seconds`` of sound."""
    return int(TOKENS_PER_SECOND * seconds) + EXTRA_TOKENS


def compression_ratio(text: str) -> float:
    """Length over deflated length of the text in UTF-8; a loop has a high one."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def is_loop(decoded: Decoded) -> bool:
    """Whether the decoder ran into the bound on tokens or repeats itself for certain."""
    return not decoded.complete or compression_ratio(decoded.text) > MAX_COMPRESSION


def is_doubtful(decoded: Decoded) -> bool:
    """Whether the utterance should be decoded again in a longer window.

    The caller may really have said a word three times or a phrase twice: the second transcript
    decides.
    """
    return (
        is_loop(decoded)
        or decoded.avg_logprob < MIN_LOGPROB
        or _STUTTER.search(decoded.text.casefold()) is not None
        or _restarts(decoded.text)
    )


def _restarts(text: str) -> bool:
    """Whether a run of five words occurs twice, as when the decoder restarts the sentence."""
    words = re.findall(r"\w+", text.casefold())
    runs = [tuple(words[i : i + _RESTART_WORDS]) for i in range(len(words) - _RESTART_WORDS + 1)]
    return len(set(runs)) < len(runs)


def is_hallucination(decoded: Decoded) -> bool:
    """Whether the text was invented over sound without speech."""
    if not any(character.isalnum() for character in decoded.text):
        return True
    return decoded.no_speech_prob > MAX_NO_SPEECH and decoded.avg_logprob < MIN_LOGPROB
