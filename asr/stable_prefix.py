"""LocalAgreement-2: how much of a growing hypothesis can be relied on.

Two hypotheses in a row, the later one over more sound, agree on their first words: those words
are stable. Published by Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection" (Interspeech 2020), and used for Whisper by
Macháček et al., "Turning Whisper into Real-Time Transcription System" (2023).
"""

from __future__ import annotations

import re

_TAIL = re.compile(r"\W*$")
_NOT_SPOKEN = re.compile(r"\W+")


def _spoken(word: str) -> str:
    """The part of a word that is heard: no case, no punctuation."""
    return _NOT_SPOKEN.sub("", word).casefold()


def _core(word: str) -> str:
    """The word without the punctuation after it."""
    return _TAIL.sub("", word)


def _tail(word: str) -> str:
    """The punctuation after the word, which depends on what follows."""
    return word[len(_core(word)) :]


class StablePrefix:
    """Fold of the hypotheses of one utterance into the text that will not change."""

    def __init__(self) -> None:
        self._previous: list[str] = []
        self._stable: list[str] = []

    def update(self, hypothesis: str) -> tuple[str, int]:
        """Take the next hypothesis; return ``(text, stable)``.

        ``text`` is the hypothesis with its beginning replaced by what was declared stable
        before, so ``text[:stable]`` only ever grows: the first agreed spelling is kept, and a
        hypothesis that contradicts a stable word, or is shorter, does not take it back. The
        punctuation after the last stable word stays open, because the next word decides it.
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
