"""Alignment of phonemes with the words of a text.

espeak-ng runs words together: "in the" becomes one phoneme word, "to be" another. Where the
number of phoneme words differs from that of the words, the words are pronounced one by one, and
the two phoneme strings are matched.
"""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from tts.engine import WordSpan, has_sound

PAUSES = frozenset(" .,!?;:-—()\"'")
"""Phonemes that stand between words: spaces and marks."""

Range = tuple[int, int]


def word_ranges(
    words: Sequence[str], phonemes: Sequence[str], pronounce: Callable[[str], Sequence[str]]
) -> list[Range]:
    """The phonemes [start, end) of each word, in order; empty for a word that has no sound.

    Args:
        words: the text's words.
        phonemes: the text's phonemes, with " " between phoneme words.
        pronounce: phonemes of one word alone; only asked where the words were run together.
    """
    groups = _phoneme_words(phonemes)
    audible = [index for index, word in enumerate(words) if has_sound(word)]
    if len(groups) == len(audible):
        ranges = dict(zip(audible, groups, strict=True))
        return _fill(ranges, len(words))
    expected = [
        [phoneme for phoneme in pronounce(word) if phoneme not in PAUSES] if has_sound(word) else []
        for word in words
    ]
    return _matched(expected, phonemes)


def with_pronunciations(
    sentences: Sequence[Sequence[str]], ranges: Sequence[Range], own: Mapping[int, str]
) -> tuple[list[list[str]], list[Range]]:
    """Put other phonemes in the place of some words'.

    Args:
        sentences: phonemes by sentence.
        ranges: place of each word in the phonemes of all sentences.
        own: word -> its phonemes; a word without sound is left as it is.
    """
    flat = list(chain.from_iterable(sentences))
    ends = np.cumsum([len(sentence) for sentence in sentences]).tolist()
    shifted: list[Range] = []
    shift = 0
    for index, (start, end) in enumerate(ranges):
        start, end = start + shift, end + shift
        if index in own and end > start:
            fresh = list(unicodedata.normalize("NFD", own[index]))
            flat[start:end] = fresh
            grown = len(fresh) - (end - start)
            ends = [stop + grown if stop >= end else stop for stop in ends]
            shift, end = shift + grown, end + grown
        shifted.append((start, end))
    return [flat[a:b] for a, b in itertools.pairwise([0, *ends])], shifted


def split_long(sentences: Sequence[list[str]], longest: int) -> list[list[str]]:
    """Cut sentences of more than ``longest`` phonemes after a space, or anywhere without one."""
    parts: list[list[str]] = []
    for sentence in sentences:
        rest = sentence
        while len(rest) > longest:
            spaces = [i for i, phoneme in enumerate(rest[:longest]) if phoneme == " "]
            cut = spaces[-1] + 1 if spaces else longest
            parts.append(rest[:cut])
            rest = rest[cut:]
        parts.append(rest)
    return parts


def spans_of(
    words: Sequence[str], ranges: Sequence[Range], bounds: Sequence[int]
) -> list[WordSpan]:
    """Word spans in samples; phoneme ``i`` sounds from ``bounds[i]`` to ``bounds[i + 1]``."""
    return [
        WordSpan(word, bounds[start], bounds[end])
        for word, (start, end) in zip(words, ranges, strict=True)
    ]


def _phoneme_words(phonemes: Sequence[str]) -> list[Range]:
    """Runs of phonemes between pauses."""
    groups: list[Range] = []
    start: int | None = None
    for index, phoneme in enumerate([*phonemes, " "]):
        if phoneme in PAUSES:
            if start is not None:
                groups.append((start, index))
            start = None
        elif start is None:
            start = index
    return groups


def _fill(ranges: dict[int, Range], count: int) -> list[Range]:
    """Give the words without sound the empty range after the word before them."""
    filled: list[Range] = []
    place = 0
    for index in range(count):
        span = ranges.get(index, (place, place))
        filled.append(span)
        place = span[1]
    return filled


def _matched(expected: Sequence[Sequence[str]], phonemes: Sequence[str]) -> list[Range]:
    """Carry the word borders over from the words said alone to the phonemes said together.

    Between two matching stretches, and where nothing matches, the borders are spread in proportion.
    """
    places = [index for index, phoneme in enumerate(phonemes) if phoneme not in PAUSES]
    alone = [phoneme for word in expected for phoneme in word]
    together = [phonemes[index] for index in places]
    borders = np.cumsum([0, *(len(word) for word in expected)])
    matcher = difflib.SequenceMatcher(None, alone, together, autojunk=False)
    from_, to = [0], [0]
    for a, b, size in matcher.get_matching_blocks():
        # The closing block is empty and stands at both ends: it anchors the last border.
        from_ += [a, a + size]
        to += [b, b + size]
    carried = np.rint(np.interp(borders, from_, to)).astype(int)
    outer = [*places, len(phonemes)]
    ranges: list[Range] = []
    for start, end in itertools.pairwise(carried):
        ranges.append((outer[start], outer[end - 1] + 1 if end > start else outer[start]))
    return ranges
