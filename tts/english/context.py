"""Words around a match, and words that begin sentences."""

from __future__ import annotations

import re

from tts.english.word_lists import words

STARTERS = words(
    """
    it she he they we you i the then there this that these those a an but and so now if in on at is
    are was were do does did what when where who why how my your his her its our their one two not
    no yes please let for from after before while because although also however both all some many
    most each every maybe perhaps thanks thank here wait call go come turn take see
    """
)


def name_before(match: re.Match[str]) -> str:
    found = re.search(r"([\w'’-]+)[,]?\s?$", match.string[: match.start()])
    return found[1] if found else ""


def name_after(match: re.Match[str]) -> str:
    found = re.match(r"\s([\w'’-]+)", match.string[match.end() :])
    return found[1] if found else ""
