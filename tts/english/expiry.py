"""Months with their year and no day: "09/2026", "expires 08/27"."""

from __future__ import annotations

import re

from tts.english.numbers import cardinal, digits, year
from tts.english.word_lists import word_list
from tts.grammar import Rule

_CUE = re.compile(
    r"\b(?:exp(?:\.|iry|ires?|iration)?(?:\s(?:date|in|is))*|valid\s(?:thru|through|until|till|to)|good\sthru)"
    r"[:.]?\s*$",
    re.IGNORECASE,
)
_MONTHS = word_list(
    """
    January February March April May June July August September October November December
    """
)


def _month_and_year(match: re.Match[str]) -> str | None:
    """A month and a year; with two digits, which may also be a day, as written."""
    month, written = match["m"], match["y"]
    cued = _CUE.search(match.string[: match.start()]) is not None
    if len(written) == 4 and (cued or len(month) == 2):
        return f"{_MONTHS[int(month) - 1]} {year(written)}"
    if not cued or len(written) == 4:
        return None
    return " ".join(
        digits(part) if part[0] == "0" else cardinal(int(part)) for part in (month, written)
    )


RULES = (
    Rule(
        r"(?<![\w/.,$€£-])(?P<m>0?[1-9]|1[0-2])/(?P<y>(?:19|20)\d\d|\d\d)(?![\w/]|[.,]\d|\s?[-=+*×÷])",
        _month_and_year,
    ),
)
