"""Letters that are said one by one: initials, "U.S.", "AT&T", "C#"."""

from __future__ import annotations

import re

from tts.english.calendar import ends_sentence
from tts.english.context import STARTERS, name_after, name_before
from tts.english.numbers import letters
from tts.english.word_lists import words
from tts.grammar import Rule

_LETTER_CUES = words(
    """
    vitamin plan grade option type hepatitis section part exhibit group team letter gate terminal
    platform zone class variable an a the for is was be me and or size answer channel model block
    building wing door row seat level schedule appendix form unit side point case bus train line
    drive disk note key string entrance exit stand pier ward court block gate bay theory law
    """
)


def _initials(match: re.Match[str]) -> str:
    """Say "U.S.", "a.k.a.", "J.K. Rowling"."""
    text = match.group()
    said = letters(text) if text != "Ph.D." else "P H D"
    return said + (_initials_stop(match) if text.endswith(".") else "")


def _initials_stop(match: re.Match[str]) -> str:
    after = name_after(match)
    if not match.string[match.end() :].strip():
        return "."
    if match.group() in ("U.S.", "U.K.", "U.N.", "E.U.", "D.C.", "L.A.", "U.S.A.", "a.m.", "p.m."):
        return "." if after.lower() in STARTERS and after[:1].isupper() else ""
    return "." if ends_sentence(match.string, match.end()) and after.lower() in STARTERS else ""


def _initial(match: re.Match[str]) -> str | None:
    """One letter and a full stop before a capital: "J. Smith", or the end of "vitamin C." """
    before, after = name_before(match), name_after(match)
    letter = match.group()[0]
    previous = match.string[: match.start()].rstrip()
    if before.lower() in _LETTER_CUES or (letter == "I" and before) or after.lower() in STARTERS:
        return None
    if re.search(r"\b(?:apt|ste|fig|sec|bldg|rm|ex|unit)\.$", previous, re.IGNORECASE):
        return None
    if letter == "X" and before[:1].isupper():  # "Malcolm X. Then": no initial
        return None
    if previous.endswith((".", "!", "?")) and not re.search(r"(?:^|[\s.])[A-Z]\.$", previous):
        return letter
    if before.lower() in ("solve", "of", "in", "to", "with", "x", "y") and not before[:1].isupper():
        return letter
    return letter


def _ampersand(match: re.Match[str]) -> str:
    """Say "AT&T", "R&D"."""
    first, second = match.group().split("&")
    return f"{letters(first)} and {letters(second)}"


def _sharp(match: re.Match[str]) -> str:
    return f"{match.group()[0]} {'sharp' if match.group().endswith('#') else 'plus plus'}"


RULES = (
    Rule(r"(?<![\w.])Ph\.?D\b\.?", _initials, starts="l"),
    Rule(
        r"(?<![\w.])(?:[A-Za-z]\.\s?){1,6}(?<=\.)[A-Za-z]\.(?!\w)|(?<![\w.])(?:[A-Za-z]\.){1,6}[A-Za-z](?![\w.])",
        _initials,
        starts="l",
    ),
    Rule(r"(?<![\w.])[A-Z]\.(?=\s[A-Z])", _initial, starts="l"),
    Rule(r"(?<![\w&])[A-Z]{1,3}&[A-Z]{1,3}(?![\w&])", _ampersand, starts="l"),
    Rule(r"(?<!\w)(?:[ACFJ]#|C\+\+)(?!\w)", _sharp, starts="l"),
)
