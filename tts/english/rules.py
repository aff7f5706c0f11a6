"""All rules of English in the order in which they are tried."""

from __future__ import annotations

import re
from functools import lru_cache

from tts.english import (
    amounts,
    asides,
    brackets,
    clock,
    codes,
    electronic,
    expiry,
    initials,
    latex,
    maths,
    names,
    phones,
    roman,
)
from tts.english.calendar import Dates
from tts.english.numbers import NUM, SIGN, digits, number, ordinal, split_number
from tts.english.symbols import SYMBOLS
from tts.grammar import Rule, RuleGrammar


def _ordinal(match: re.Match[str]) -> str:
    return ordinal(int(split_number(match["n"])[0]))


def _range(match: re.Match[str]) -> str | None:
    """Say "10-20", "0.5-1.5", "3-1": what is counted or the score of a game."""
    spaced = re.search(r"\s[-–—]\s", match.group()) is not None
    if spaced and split_number(match["a"])[1] + split_number(match["b"])[1] == "":
        first, second = (int(re.sub(r"\D", "", match[name])) for name in "ab")
        if first > second:
            return None
    joined = " " if match["a"] == match["b"] else " to "
    return f"{number(match['a'])}{joined}{number(match['b'])}"


def _list(match: re.Match[str]) -> str | None:
    """Say "5,6,7": no number has such commas."""
    if re.fullmatch(NUM, match.group()):
        return None
    return ", ".join(number(part) for part in match.group().split(","))


def _number(match: re.Match[str]) -> str:
    if match.string[: match.start()][-1:].isdecimal():
        return digits(match.group())
    return number(match.group())


def _ratio(match: re.Match[str]) -> str:
    if match["b"][0] == "0" and len(match["b"]) > 1:
        # Minutes and seconds, as in "the match lasted 45:00".
        return f"{number(match['a'])} {digits(match['b'])}"
    return f"{number(match['a'])} to {number(match['b'])}"


def _fallback(match: re.Match[str]) -> str:
    return digits(match.group())


_MARKS = (
    Rule(r"\[\^\w{1,20}\]:?", lambda match: "", starts="s"),
    Rule(r"(?<![^\n])\[[xX]\](?=\s\S)", lambda match: "done,", starts="s"),
    Rule(r"(?<=[A-Za-z])~(?P<n>\d{1,3})~", lambda match: number(match["n"]), starts="s"),
    Rule(
        r"(?<=\d)★+",
        lambda match: "star" if match.string[match.end() :][1:2].islower() else "stars",
        starts="s",
    ),
    Rule(
        r"(?<![\w-])(?P<g>[A-F]|O|AB)[-−–](?=\s(?:in|on|for|average|grade|student|blood|and|or)\b|[.,;!?)]|\s?$)",
        lambda match: f"{' '.join(match['g'])} minus",
        starts="l",
    ),
)
"""Footnotes, boxes of a list of tasks, stars, marks of a school."""
_NUMBERS = (
    Rule(
        r"(?<![\w.,])(?P<n>\d+)(?:st|nd|rd|th)\s?[-–]\s?(?P<b>\d+)(?:st|nd|rd|th)(?!\w)",
        lambda m: f"{ordinal(int(m['n']))} to {ordinal(int(m['b']))}",
    ),
    Rule(r"(?<![\w.,])(?P<n>\d{1,3}(?:,\d{3})+|\d+)(?i:st|nd|rd|th)(?!\w)", _ordinal),
    Rule(r"(?<![\w.,:])(?P<a>\d{1,3}):(?P<b>\d{1,3})(?![\w:]|[.,]\d)", _ratio),
    Rule(
        rf"(?<![\w.,-])(?P<a>{SIGN}{NUM})\s?[-–—~‑]\s?(?P<b>{NUM})(?![\w-]|[.,]\d)",
        _range,
        starts="ds",
    ),
    Rule(r"(?<![\w.,])\d{1,3}(?:,\d{1,3}){2,}(?!\w|[.,]\d)", _list),
    Rule(rf"{SIGN}{NUM}", _number, starts="ds"),
    Rule(r"\d+", _fallback),
)


@lru_cache(maxsize=2)
def grammar(*, day_first: bool = False) -> RuleGrammar:
    """The grammar of English; ``day_first`` for countries that write 3/4 for the third of April."""
    inner: list[RuleGrammar] = []
    made = RuleGrammar(
        (
            *asides.RULES,
            *_MARKS,
            *electronic.ADDRESSES,
            *phones.RULES,
            *codes.NAMED,
            *expiry.RULES,
            *Dates(day_first=day_first).rules(),
            *electronic.RULES,
            *latex.rules(lambda text: inner[0].words(text.replace("-", "−"))),
            *brackets.RULES,
            *maths.RULES,
            *clock.RULES,
            *codes.RULES,
            *names.RULES,
            *initials.RULES,
            *roman.RULES,
            *amounts.RULES,
            *codes.MIXED,
            *_NUMBERS,
        ),
        SYMBOLS,
    )
    inner.append(made)
    return made
