"""Rules that find expressions in written text and say them in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


@dataclass(frozen=True, slots=True)
class Part:
    """Spoken words and the place in the written text up to which they say it."""

    words: str
    end: int


@dataclass(frozen=True, slots=True)
class Expression:
    """A stretch [start, end) of the text with the parts of its spoken form."""

    start: int
    end: int
    parts: Sequence[Part]


class Grammar(Protocol):
    """Finds the expressions of one language and says them."""

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Expression]:
        """The expressions in ``text[start:end]`` from left to right; they do not overlap.

        The text before ``start`` is context: "1980" is a code after "last four digits".
        """

    def symbol(self, char: str) -> str:
        """The name of a symbol; empty where the language has none."""


Say = Callable[["re.Match[str]"], "str | Sequence[Part] | None"]


class Rule:
    """A pattern and the function that says a match; it returns None for text of another kind."""

    def __init__(self, pattern: str, say: Say, *, starts: str = "d") -> None:
        """Make a rule.

        Args:
            pattern: a regular expression, tried where a run of digits, a run of letters or a
                symbol begins.
            say: spoken form of a match, or parts of it with their places.
            starts: the first characters it may have: ``d`` digit, ``l`` letter, ``s`` symbol.
        """
        self.match = re.compile(pattern).match
        self.say = say
        self.starts = starts


class RuleGrammar:
    """Tries its rules in order at every place where a word, a number or a symbol begins."""

    def __init__(self, rules: Iterable[Rule], symbols: dict[str, str]) -> None:
        rules = tuple(rules)
        self._rules = {kind: [r for r in rules if kind in r.starts] for kind in "dls"}
        self._symbols = symbols

    def symbol(self, char: str) -> str:
        return self._symbols.get(char, "")

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Expression]:
        stop = len(text) if end is None else end
        position = start
        while token := _TOKEN.search(text, position, stop):
            found = self._at(text, token.start(), stop)
            if found is not None:
                yield found
                position = found.end
            else:
                position = token.end()

    def words(self, text: str) -> str:
        """The spoken form of a part of an expression, such as a numerator."""
        said: list[str] = []
        position = 0
        for found in self.find(text):
            said += [self._plain(text[position : found.start]), *(p.words for p in found.parts)]
            position = found.end
        said.append(self._plain(text[position:]))
        return " ".join(" ".join(said).split())

    def _plain(self, text: str) -> str:
        return "".join(f" {self._symbols[c]} " if c in self._symbols else c for c in text)

    def _at(self, text: str, start: int, stop: int) -> Expression | None:
        first = text[start]
        kind = "d" if first.isdecimal() else "l" if first.isalpha() else "s"
        for rule in self._rules[kind]:
            match = rule.match(text, start, stop)
            if match is None or match.end() == start:
                continue
            said = _said(rule, match)
            if said is not None:
                parts = (Part(said, match.end()),) if isinstance(said, str) else tuple(said)
                return Expression(start, max(match.end(), parts[-1].end), parts)
        return None


def _said(rule: Rule, match: re.Match[str]) -> str | Sequence[Part] | None:
    """The spoken form by a rule; numbers beyond the libraries are left to the rule for digits."""
    try:
        return rule.say(match)
    except (ArithmeticError, LookupError, NotImplementedError, ValueError):
        return None


def words_before(match: re.Match[str], count: int = 1) -> str:
    """The last ``count`` words before a match, in lower case; fewer at the start of the text."""
    return " ".join(
        match.string[max(0, match.start() - 60) : match.start()].lower().split()[-count:]
    )


def word_after(match: re.Match[str]) -> str:
    """The word that follows a match after one space; empty where there is none."""
    following = re.compile(r"[\s-]([^\W\d_]+)").match(match.string, match.end())
    return following[1] if following else ""


def group_parts(match: re.Match[str], say: Callable[[str], str], pattern: str) -> list[Part]:
    """A part for each stretch of a match that ``pattern`` finds, with a comma between them."""
    found = list(re.finditer(pattern, match.group()))
    last = len(found) - 1
    return [
        Part(
            say(item.group()) + ("," if index < last else ""),
            match.start() + item.end() if index < last else match.end(),
        )
        for index, item in enumerate(found)
    ]
