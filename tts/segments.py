"""Cut reply text, as it grows, into segments to speak: a short first one, then sentences.

A cut is decided by what stands before it and the one character after it, never by how the text
arrived. Less would split "3.14"; waiting for the whole next word costs the caller time. A number
keeps the words around it: no cut stands before a digit, nor between a number and its unit.
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
    "adm|approx|apt|assn|ave|avg|blvd|brig|ca|capt|cf|ch|co|col|corp|dept|dr|ed|est|etc|ext|fig|ft|gen|"
    "gov|hon|inc|jr|lt|ltd|max|messrs|min|mr|mrs|ms|mt|mts|no|nos|pp|prof|pvt|rep|rev|sec|sen|sgt|sr|st|"
    "ste|tel|vol|vs|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec"
)
_CONJUNCTION = re.compile(
    "although|and|as|because|before|but|if|or|since|so|that|though|unless|until|when|where|whereas|"
    "which|while|who|whose"
)
_NUMBER_STARTS = frozenset("0123456789$€£¥₹₩+-−–±~≈<>=*/×÷√#§½¼¾⅓⅔⅛⅜⅝⅞(%°&@")
"""First characters of a number, or of a sign that belongs to the number before it."""
_SPOKEN = {"digit": 6, "upper": 2, "other": 1, "symbol": 12}
"""Estimated spoken characters of a written one: "7" is "seven " or part of "seven hundred"."""
_LONG_SPOKEN = re.compile(r"[^a-z\s.,!?;:'-]")
_CLAUSE_WORDS = 2
"""The first segment ends at a comma after so many words: a single word alone sounds clipped."""
_CONJUNCTION_WORDS = 4
"""The first segment ends before a conjunction after so many words."""


class Segmenter:
    """Takes text and returns segments to speak; joined, the segments are the text, unchanged."""

    def __init__(
        self, *, first_words: int = 12, max_chars: int = 300, max_spoken: int = 600
    ) -> None:
        """Make a segmenter for one reply.

        Args:
            first_words: longest first segment in spoken words; each digit counts as a word.
            max_chars: longest segment; text without any gap is cut in the middle.
            max_spoken: longest segment in characters of its spoken form, by estimate. The true
                length stays below ``MAX_TEXT``.
        """
        if first_words < 1 or not 1 <= max_chars <= MAX_TEXT or not 1 <= max_spoken <= MAX_TEXT:
            raise ValueError(
                f"first_words must be >= 1, max_chars and max_spoken must be in 1..{MAX_TEXT}"
            )
        self._first_words = first_words
        self._max_chars = max_chars
        self._max_spoken = max_spoken
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
        """End the reply: return the rest of it, and be ready for the next."""
        rest = [self._pending] if self._pending else []
        self._pending, self._first = "", True
        return rest

    def _cut(self) -> int:
        """Where the first segment of the pending text ends; 0 if that is not known yet."""
        limit = self._limit()
        last_gap = last_good = 0
        for gap in _GAP.finditer(self._pending, 0, min(limit, self._max_chars) + 1):
            before, after = self._pending[: gap.start()], self._pending[gap.end()]
            if "\n" in gap.group() or _ends_sentence(before, after):
                return gap.end()
            good = not _inside_number(before, after)
            if self._first and good and (cut := self._first_cut(before, after, gap.end())):
                return cut
            last_gap, last_good = gap.end(), gap.end() if good else last_good
        if len(self._pending) <= limit:
            return 0
        return last_good or last_gap or limit

    def _limit(self) -> int:
        """How many characters of the pending text one segment may hold."""
        spoken = 0
        text = self._pending[: self._max_chars]
        if len(text) + _SPOKEN["symbol"] * len(_LONG_SPOKEN.findall(text)) <= self._max_spoken:
            return self._max_chars
        for index, char in enumerate(text):
            spoken += _spoken_length(char)
            if spoken > self._max_spoken:
                return max(1, index)
        return self._max_chars

    def _first_cut(self, before: str, after: str, end: int) -> int:
        words = before.split()
        if len(words) >= _CLAUSE_WORDS and _ends_clause(before, after):
            return end
        if len(words) > _CONJUNCTION_WORDS and _CONJUNCTION.fullmatch(words[-1].lower()):
            cut = len(before) - len(words[-1])
            # "between 5 and 10": the number and what follows it stay together.
            return 0 if words[-2][-1:].isdecimal() else cut
        spoken = sum(max(1, sum(map(str.isdecimal, word))) for word in words)
        return end if spoken >= self._first_words else 0


def _spoken_length(char: str) -> int:
    if char.isdecimal():
        return _SPOKEN["digit"]
    if char.isalpha():
        return _SPOKEN["upper" if char.isupper() else "other"]
    return _SPOKEN["other" if char.isspace() or char in ".,!?;:'\"-*_`()" else "symbol"]


def _has_digit(word: str) -> bool:
    return any(map(str.isdecimal, word))


def _inside_number(before: str, after: str) -> bool:
    """Whether a cut would tear a number from its other digits, its unit or the word that names it.

    "4242 4242", "account 1234", "5 km", "$5 million", "742 Evergreen Terrace".
    """
    if after in _NUMBER_STARTS:
        return True
    words = before.split()[-2:]
    if words and words[-1][-1].isalnum() and any(map(_has_digit, words)):
        return True
    bare = before.rstrip(_CLOSERS)
    return bool(bare) and (bare[-1].isdecimal() or bare[-1] in "$€£¥₹₩+−×÷=<>√#/&@-–")


def _ends_sentence(before: str, after: str) -> bool:
    bare = before.rstrip(_CLOSERS)
    if not bare.endswith(_SENTENCE_ENDS):
        return False
    if not bare.endswith(".") or bare.endswith(".."):
        return after not in "=+×÷*/^<>≈"  # "5! = 120"
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
