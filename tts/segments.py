"""Cut reply text, as it grows, into segments to speak: a short first one, then sentences.

A cut is decided by what stands before it and the one character after it, never by how the text
arrived. Less would split "3.14"; waiting for the whole next word costs the caller time.
"""

from __future__ import annotations

import re

from tts.engine import MAX_TEXT

_GAP = re.compile(r"\s+(?=\S)|(?<=[。！？])(?=\S)")
_CLOSERS = "\"'”’»)]}*_"
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")
_CLAUSE_ENDS = (",", ";", ":", "–", "—")
_LIST_MARKER = re.compile(r"\d{1,2}\.")
_INITIALS = re.compile(r"(?:\w\.)+")
_ABBREVIATION = re.compile(
    "adm|approx|assn|ave|blvd|brig|ca|capt|cf|co|col|corp|dept|dr|ed|est|etc|ext|fig|gen|gov|hon|inc|"
    "jr|lt|ltd|messrs|mr|mrs|ms|mt|mts|no|nos|pp|prof|pvt|rep|rev|sen|sgt|sr|st|vol|vs"
)
_CONJUNCTION = re.compile(
    "although|and|as|because|before|but|if|or|since|so|that|though|unless|until|when|where|whereas|"
    "which|while|who|whose"
)
_CLAUSE_WORDS = 2
"""The first segment ends at a comma after so many words: a single word alone sounds clipped."""
_CONJUNCTION_WORDS = 4
"""The first segment ends before a conjunction after so many words."""


class Segmenter:
    """Feed it text; what it returns can be spoken. Joined, the segments are the text, unchanged."""

    def __init__(self, *, first_words: int = 12, max_chars: int = 300) -> None:
        """Make a segmenter for one reply.

        Args:
            first_words: longest first segment, in words.
            max_chars: longest segment; text without any gap is cut in the middle.
        """
        if first_words < 1 or not 1 <= max_chars <= MAX_TEXT:
            raise ValueError(f"first_words must be >= 1, max_chars in 1..{MAX_TEXT}")
        self._first_words = first_words
        self._max_chars = max_chars
        self._pending = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """Take the next piece of the reply; return the segments that are complete."""
        self._pending += text
        segments: list[str] = []
        while cut := self._cut():
            segments.append(self._pending[:cut])
            self._pending = self._pending[cut:]
            # A gap or a lone list marker is no sound, so the next segment is still the first.
            self._first = self._first and not any(map(str.isalnum, segments[-1]))
        return segments

    def flush(self) -> list[str]:
        """The reply is complete: return what is left, and start anew."""
        rest = [self._pending] if self._pending else []
        self._pending, self._first = "", True
        return rest

    def _cut(self) -> int:
        """Where the first segment of the pending text ends; 0 if that is not known yet."""
        last_gap = 0
        for gap in _GAP.finditer(self._pending, 0, self._max_chars + 1):
            before, after = self._pending[: gap.start()], self._pending[gap.end()]
            if "\n" in gap.group() or _ends_sentence(before, after):
                return gap.end()
            if self._first and (cut := self._first_cut(before, after, gap.end())):
                return cut
            last_gap = gap.end()
        if len(self._pending) <= self._max_chars:
            return 0
        return last_gap or self._max_chars

    def _first_cut(self, before: str, after: str, end: int) -> int:
        words = before.split()
        if len(words) >= _CLAUSE_WORDS and _ends_clause(before, after):
            return end
        if len(words) > _CONJUNCTION_WORDS and _CONJUNCTION.fullmatch(words[-1].lower()):
            return len(before) - len(words[-1])
        return end if len(words) >= self._first_words else 0


def _ends_sentence(before: str, after: str) -> bool:
    bare = before.rstrip(_CLOSERS)
    if not bare.endswith(_SENTENCE_ENDS):
        return False
    if not bare.endswith(".") or bare.endswith(".."):
        return True
    token = bare.split()[-1].lstrip("\"'“‘«([{*_")
    if after.islower() or _INITIALS.fullmatch(token):
        return False
    if _LIST_MARKER.fullmatch(token) and before.split() == [token]:
        return False
    name = token[:-1].lower()
    # "No." is an answer, unless a number follows.
    return not _ABBREVIATION.fullmatch(name) or (name == "no" and not after.isdigit())


def _ends_clause(before: str, after: str) -> bool:
    bare = before.rstrip(_CLOSERS)
    if not bare.endswith(_CLAUSE_ENDS):
        return False
    # "May 5, 2024", "in 10, 20 or 30 minutes"
    return not (bare[-2:-1].isdigit() and after.isdigit())
