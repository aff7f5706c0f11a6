"""Digits one by one, with a pause between groups."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tts.english.numbers import digits, letters
from tts.grammar import Part, group_parts

QUANTITY = re.compile(r"\s(?!is\b|was\b|has\b|this\b|as\b|plus\b|status\b)(?:[a-z]+s|people|of)\b")


def apart(text: str) -> str:
    """Digits one by one, with a pause between equal ones in groups of three and more.

    Equal digits that run together are miscounted, by recognisers and on the telephone.
    """
    if len(text) < 3:
        return digits(text)
    said = [digits(char) for char in text]
    equal = [a == b for a, b in itertools.pairwise(text)]
    return " ".join(
        f"{word}," if same else word for word, same in zip(said, [*equal, False], strict=True)
    )


def chunks(text: str) -> list[str]:
    """A long run of digits in groups of three or four, as in dictation."""
    count = len(text)
    if count < 5:
        return [text]
    if count == 10 and text[0] in "23456789":
        return [text[:3], text[3:6], text[6:]]
    size = 3 if count in (5, 6, 7, 9) else 4
    cuts = [*range(0, count - 1 if count % size == 1 else count, size), count]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


def paused(text: str) -> str:
    """Digits one by one, with a pause after three or four of them and between equal ones."""
    return ", ".join(map(apart, chunks(text)))


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
    groups = chunks(match.group())
    parts: list[Part] = []
    place = match.start()
    for text in groups:
        place += len(text)
        parts.append(Part(apart(text) + ("," if len(parts) < len(groups) - 1 else ""), place))
    return parts
