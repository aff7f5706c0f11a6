"""Digits one by one, with a pause between groups."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tts.english.numbers import digits, letters
from tts.grammar import Part, group_parts

QUANTITY = re.compile(r"\s(?!is\b|was\b|has\b|this\b|as\b|plus\b|status\b)(?:[a-z]+s|people|of)\b")


def paused(text: str) -> str:
    """Digits one by one, with a pause after three or four of them, as in dictation."""
    count = len(text)
    if count < 5:
        return digits(text)
    if count == 10 and text[0] in "23456789":
        return ", ".join(map(digits, (text[:3], text[3:6], text[6:])))
    size = 3 if count in (5, 6, 7, 9) else 4
    cuts = [*range(0, count - 1 if count % size == 1 else count, size), count]
    return ", ".join(digits(text[a:b]) for a, b in itertools.pairwise(cuts))


def group(text: str) -> str:
    """One group of a code as it is written: digits one by one, short words letter by letter."""
    if text.isalpha():
        return text if len(text) > 3 else letters(text)
    return f"plus {paused(text[1:])}" if text[0] == "+" else paused(text)


def grouped(match: re.Match[str]) -> list[Part]:
    """Digits in the groups in which they are written; a plus at the front is named."""
    return group_parts(match, group, r"\+?\d+|[A-Za-z]+")


def digit_groups(match: re.Match[str]) -> Sequence[Part]:
    """A run of digits in groups of three or four, each a part of its own."""
    said = paused(match.group()).split(", ")
    parts: list[Part] = []
    place = match.start()
    for words in said:
        place += len(words.split())
        parts.append(Part(words + ("," if len(parts) < len(said) - 1 else ""), place))
    return parts
