"""LocalAgreement-2: the stable prefix of a growing hypothesis.

The first words on which two hypotheses in a row agree, the later one over more sound, are stable.
Published by Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by
Partial Hypothesis Selection" (Interspeech 2020), and used for Whisper by Macháček et al., "Turning
Whisper into Real-Time Transcription System" (2023).
"""

from __future__ import annotations

import re

_TAIL = re.compile(r"\W*$")
_NOT_SPOKEN = re.compile(r"\W+")


def _spoken(word: str) -> str:
    """Spoken part of a word, without case and punctuation."""
    return _NOT_SPOKEN.sub("", word).casefold()


def _core(word: str) -> str:
    """Word without the punctuation after it."""
    return _TAIL.sub("", word)


def _tail(word: str) -> str:
    """Punctuation after a word, which depends on the words that follow."""
    return word[len(_core(word)) :]


class StablePrefix:
    """Folds the hypotheses of one utterance into a text with a stable prefix."""

    def __init__(self) -> None:
        self._previous: list[str] = []
        self._stable: list[str] = []

    def update(self, hypothesis: str) -> tuple[str, int]:
        """Take the next hypothesis.

        Returns:
            The text, and the number of its first characters that are stable. The text is the
            hypothesis with its beginning replaced by the words that are stable already, so the
            stable part only grows: the spelling that was agreed on first is kept, even if a later
            hypothesis contradicts it or is shorter. Punctuation after the last stable word is not
            stable, because it depends on the next word.
        """
        words = hypothesis.split()
        self._follow_punctuation(words)
        agreed = len(self._stable)
        for earlier, later in zip(self._previous[agreed:], words[agreed:], strict=False):
            if not _spoken(earlier) or _spoken(earlier) != _spoken(later):
                break
            self._stable.append(later)
        self._previous = words
        text = " ".join(self._stable + words[len(self._stable) :])
        settled = " ".join(self._stable)
        return text, len(settled) - (len(_tail(self._stable[-1])) if self._stable else 0)

    def _follow_punctuation(self, words: list[str]) -> None:
        last = len(self._stable) - 1
        if last < 0:
            return
        same = last < len(words) and _spoken(words[last]) == _spoken(self._stable[last])
        self._stable[last] = _core(self._stable[last]) + (_tail(words[last]) if same else "")
