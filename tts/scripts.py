"""Scripts that a language is written in, and the letters that a voice of it cannot speak."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global

_NAMES = {
    "Latn": "LATIN",
    "Cyrl": "CYRILLIC",
    "Grek": "GREEK",
    "Hebr": "HEBREW",
    "Arab": "ARABIC",
}
"""Script codes and how Unicode's names of their letters begin."""


def script_of(locale: Locale) -> str:
    """First word in Unicode's names of the letters; empty if every letter may be said."""
    likely = get_global("likely_subtags").get(locale.language, "")
    return next((_NAMES[part] for part in likely.split("_") if part in _NAMES), "")


@lru_cache(maxsize=8192)
def in_script(char: str, script: str) -> bool:
    """Whether a letter or mark belongs to the script named by ``script_of``."""
    return script in unicodedata.name(char, "")


def script_for(language: str) -> str:
    """``script_of`` for a tag such as "en-us"; empty for a language that is not known."""
    try:
        return script_of(Locale.parse(language.split("-")[0]))
    except (UnknownLocaleError, ValueError):
        return ""


def without_foreign(word: str, script: str) -> str:
    """A word without its letters of other scripts."""
    if not script or word.isascii():
        return word
    return "".join(c for c in word if not c.isalpha() or in_script(c, script))


def unspeakable(text: str, script: str) -> int:
    """How many letters of ``text`` belong to other scripts."""
    if text.isascii():
        return 0
    return sum(1 for char in text if char.isalpha() and not in_script(char, script))
