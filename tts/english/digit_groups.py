"""Digits one by one, with a pause between groups."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tts.english.numbers import digits, letters
from tts.grammar import Part, group_parts

QUANTITY = re.compile(r"\s(?!is\b|was\b|has\b|this\b|as\b|plus\b|status\b)(?:[a-z]+s|people|of)\b")


def group(text: str) -> str:
    if text.isalpha():
        return text if len(text) > 3 else letters(text)
    return ("plus " if text[0] == "+" else "") + digits(text)


def grouped(match: re.Match[str]) -> list[Part]:
    """Digits in the groups in which they are written; a plus at the front is named."""
    parts = group_parts(match, group, r"\+?\d+|[A-Za-z]+")
    return parts


def digit_groups(match: re.Match[str]) -> Sequence[Part]:
    """A long run of digits, four at a time; short ones and odd rests stay together."""
    count = len(re.sub(r"\D", "", match.group()))
    size = 3 if count in (6, 9) else 4
    if count == 10 and match.group()[0] in "23456789":
        return group_parts(match, digits, r"^\d{3}|\d{3}(?=\d{4}$)|\d{4}$")
    if count <= 5:
        return (Part(digits(match.group()), match.end()),)
    return group_parts(match, digits, rf"\d{{{size}}}(?=\d)|\d+$")
