"""Whether a transcript holds the agent's own words, which a microphone beside a speaker returns.

The comparison is with what was being spoken at that time, and nothing else: a caller may well
repeat a word of the agent's ("coffee") as an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

OWN_SHARE: Final = 0.75
"""Share of a transcript's words from which on all of it counts as the agent's own: a recogniser
mishears some of a distorted echo."""
ALIKE: Final = 0.7
"""Likeness of two words, from 0 to 1, from which on one is the other misheard."""
SHORT: Final = 4
"""Letters below which a word is only its equal: short words are alike by chance."""
MAX_WORDS: Final = 60
"""Words of each side that are compared; the newest count."""


def words_of(text: str) -> list[str]:
    """The words of ``text`` in small letters, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower().replace("'", "").replace("’", ""))[-MAX_WORDS:]


def is_own(heard: str, spoken: str) -> bool:
    """Whether the words that were ``heard`` are those of ``spoken``, in order, but for a few.

    No words are nobody's.
    """
    transcript, own = words_of(heard), words_of(spoken)
    if not transcript or not own:
        return False
    return _in_order(transcript, own) >= OWN_SHARE * len(transcript)


def _in_order(transcript: Sequence[str], own: Sequence[str]) -> int:
    """Length of the longest common subsequence, of words that are equal or alike."""
    row = [0] * (len(own) + 1)
    for heard in transcript:
        before = row
        row = [0]
        for place, word in enumerate(own):
            match = before[place] + 1 if _same(heard, word) else 0
            row.append(max(match, before[place + 1], row[place]))
    return row[-1]


def _same(heard: str, word: str) -> bool:
    if heard == word:
        return True
    if min(len(heard), len(word)) < SHORT:
        return False
    return SequenceMatcher(None, heard, word, autojunk=False).ratio() >= ALIKE
